"""Distils Transformer encoders: the library does one run of a benchmark, or the same from Python (docs/python.md)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from railkd.api.distilling import Result as Result
    from railkd.api.distilling import distil as distil
    from railkd.api.distilling import evaluate as evaluate
    from railkd.api.loss import DistillationLoss as DistillationLoss
    from railkd.trainer import DistillationTrainer as DistillationTrainer

__version__ = "0.1.0"

# Each is imported when it is first asked for: ``import railkd`` loads neither torch nor transformers.
_EXPORTED = {
    "distil": "railkd.api.distilling",
    "evaluate": "railkd.api.distilling",
    "Result": "railkd.api.distilling",
    "DistillationLoss": "railkd.api.loss",
    "DistillationTrainer": "railkd.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTED:
        raise AttributeError(f"module 'railkd' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTED[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTED])

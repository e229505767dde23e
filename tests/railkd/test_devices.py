"""Device and precision by a table of capabilities: what a card is, a test says; no card is needed."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from railkd import devices

GIB = 2**30
CAPABILITIES = {  # card -> its compute capability, and what ``auto`` means on it
    "V100": ((7, 0), torch.float32),
    "T4": ((7, 5), torch.float32),
    "A100": ((8, 0), torch.bfloat16),
    "RTX 4090": ((8, 9), torch.bfloat16),
    "H100": ((9, 0), torch.bfloat16),
}


@pytest.mark.parametrize("card", CAPABILITIES)
def test_auto_is_bfloat16_where_the_card_multiplies_it(monkeypatch: pytest.MonkeyPatch, card: str) -> None:
    capability, expected = CAPABILITIES[card]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # what torch says of emulation too
    for width in (64, 768):
        assert devices.precision("auto", torch.device("cuda"), width) == expected
        assert devices.precision("float32", torch.device("cuda"), width) == torch.float32
        assert devices.precision("bfloat16", torch.device("cuda"), width) == torch.bfloat16


def test_auto_on_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "6.2")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: pytest.fail("AMD counts otherwise"))
    assert devices.precision("auto", torch.device("cuda:1"), 768) == torch.bfloat16
    assert devices.precision("auto", torch.device("mps"), 768) == torch.float32
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert devices.precision("auto", torch.device("cpu"), 768) == expected
        assert devices.precision("auto", torch.device("cpu"), 64) == torch.float32


@pytest.mark.parametrize(
    ("total", "jobs", "expected"),
    [(24, 1, None), (24, 2, 0.5 - 600 / 1024 / 24), (80, 5, 0.2 - 600 / 1024 / 80), (2, 4, 0.125)],  # GiB
)
def test_jobs_that_share_a_gpu_have_equal_parts_of_its_memory(
    monkeypatch: pytest.MonkeyPatch, total: int, jobs: int, expected: float | None
) -> None:
    card, limits = torch.device("cuda:0"), []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=total * GIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
    devices.limit_memory(card, jobs)
    devices.limit_memory(torch.device("cpu"), jobs)
    assert limits == ([] if expected is None else [(pytest.approx(expected), card)])
    assert sum(part for part, _ in limits) * jobs <= 1


@pytest.mark.parametrize(
    ("free", "fraction", "budget"),
    [(20, 1.0, 11), (20, 0.25, 2), (1, 0.25, 1.5), (20, 0.125, 0.5), (20, 0.05, 0)],  # half of what may be taken
)
def test_data_may_take_a_share_of_what_this_process_may_take(
    monkeypatch: pytest.MonkeyPatch, free: float, fraction: float, budget: float
) -> None:
    """On a GPU of 24 GiB of which this process has reserved 4 and uses 2."""

    def numbered(value: object) -> Callable[[torch.device], object]:
        def answer(device: torch.device) -> object:
            assert device.index is not None  # as torch asks for where it reads this process's share
            return value

        return answer

    for name, value in {
        "mem_get_info": (int(free * GIB), 24 * GIB), "memory_reserved": 4 * GIB, "memory_allocated": 2 * GIB,
        "get_per_process_memory_fraction": fraction,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, numbered(value))
    assert devices.data_budget(torch.device("cuda:0"), 0.5) == pytest.approx(budget * GIB, abs=1)
    assert devices.data_budget(torch.device("cpu"), 0.5) is None

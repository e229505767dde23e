"""Compiles a classifier's forward pass, and with it the backward pass, by ``torch.compile``: few launches a step.

Dimensions: ``B`` batch, ``T`` tokens, ``D`` width.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from railkd.errors import UserError
from railkd.models.attention import capture
from railkd.models.classifier import layers_of
from railkd.models.forward import Forward
from railkd.models.mixing import mixed_inputs
from railkd.models.shortcuts import calm, tiny_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LENGTHS = 8  # to at most so many lengths a compiled model's batches are padded: each has a graph
TILE = 8  # tokens: the lengths are multiples of it, but for the longest
GRAPHS = 256  # at most in a process: a cell's lengths, twice where a method mixes inputs, for all its seeds together


def padded_lengths(longest: int, at_most: int) -> list[int]:
    """At most ``LENGTHS`` lengths, evenly spaced, for texts of up to ``longest`` tokens; none above ``at_most``."""
    step = TILE * -(-longest // (TILE * LENGTHS))
    top = min(-(-longest // TILE) * TILE, at_most)
    return [*range(step, top, step), top]


def how(device: torch.device) -> dict[str, Any]:
    """What ``torch.compile`` is told: on a GPU to replay each graph as one CUDA graph."""
    return {"mode": "reduce-overhead"} if device.type == "cuda" else {}


def require_compiler(device: torch.device) -> None:
    """Raises UserError, one line, where ``torch.compile`` cannot build for this device; it builds a sum to know.

    It takes a few seconds.
    """
    from torch._inductor import config

    def one_if_compiled(x: Tensor) -> Tensor:
        return x + int(torch.compiler.is_compiling())

    try:
        with (
            warnings.catch_warnings(action="ignore"),
            config.patch(force_disable_caches=True),
        ):  # an earlier process may have left what this one cannot build
            made = torch.compile(one_if_compiled, dynamic=False, **how(device))(torch.zeros(4, device=device))
        why = "" if bool(made.all()) else "it is switched off, as by TORCH_COMPILE_DISABLE=1"
    except Exception as error:  # no compiler, no Triton, a Python or a platform that it does not know
        why = _reason(error)
    if why:
        raise UserError(
            f"compile: true: torch.compile does not work here for device {device.type} ({why}); expected a C++ "
            "compiler such as g++ (another one: CXX), on a GPU Triton too; or compile: false"
        )


class CompiledForward:
    """``models.forward.forward`` of one model, compiled: called with a batch's inputs, (B, T) each, B at most ``rows``.

    A smaller batch, an epoch's last one, is filled up to ``rows`` with copies of its own rows, whose outputs are cut
    off again: so each length has one graph, or two where a method mixes inputs. What a method reads of the outputs is
    no part of a graph, so a draw of layers makes none. The graphs of a model serve the next model of the same
    architecture in this process. ``hidden`` and ``attention`` are as in ``forward``.

    Raises UserError, when it is first called, for a model that cannot be compiled whole.
    """

    def __init__(self, model: "PreTrainedModel", rows: int, hidden: bool, attention: Sequence[int] = ()) -> None:
        import torch._dynamo

        self.model, self.rows, self.attention = model, rows, attention
        self._layers = layers_of(model) if attention else ()
        self._vectors: dict[Any, Tensor] = {}
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
        with calm(model):  # `transformers` hangs its hooks into a model when it is first called, which no graph can
            model(**tiny_batch(model), output_hidden_states=hidden)
        self._run = torch.compile(
            _outputs(model, hidden, self._vectors), dynamic=False, fullgraph=True, **how(model.device)
        )

    def __call__(self, inputs: dict[str, Tensor]) -> Forward:
        mask_BT = inputs["attention_mask"]
        size = len(mask_BT)
        given = inputs
        if size < self.rows:
            row_B = torch.arange(self.rows, device=mask_BT.device) % size
            given = {name: value[row_B] for name, value in inputs.items()}
        with self._captured(), _in_words(self.model):
            logits_BC, hidden, vectors = self._run(given)
        if size < self.rows:
            logits_BC, hidden = logits_BC[:size], [states_BTD[:size] for states_BTD in hidden]
            vectors = {key: value_BTD[:size] for key, value_BTD in vectors.items()}

        def mix(partner_B: Tensor, share: float) -> Forward:
            return self(mixed_inputs(self.model.get_input_embeddings(), inputs, partner_B, share))

        return Forward(logits_BC, hidden, mask_BT, vectors, mix)

    @contextmanager
    def _captured(self) -> Iterator[None]:
        """Inside, attention vectors go into one dictionary, empty before and after: a graph knows it as it was."""
        with capture(self._layers, self.attention, self._vectors):
            try:
                yield
            finally:
                self._vectors.clear()


def _outputs(
    model: "PreTrainedModel", hidden: bool, vectors: dict[Any, Tensor]
) -> Callable[[dict[str, Tensor]], tuple[Tensor, Sequence[Tensor], dict[Any, Tensor]]]:
    """The function that is compiled: logits (B, C), hidden states and attention vectors (B, T, D)."""

    def run(inputs: dict[str, Tensor]) -> tuple[Tensor, Sequence[Tensor], dict[Any, Tensor]]:
        output = model(**inputs, output_hidden_states=hidden)
        return output.logits, output.hidden_states or (), dict(vectors)

    return run


@contextmanager
def _in_words(model: "PreTrainedModel") -> Iterator[None]:
    """Turns what torch.compile raises of a model into one line."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        raise UserError(
            f"compile: true: a {type(model).__name__} cannot be compiled whole ({_reason(error)})"
        ) from None


def _reason(error: Exception) -> str:
    """What torch.compile says, in one line, without its hints for those who develop it."""
    return " ".join(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0].split())[:200]

"""Where a GPU's memory runs out, less data is kept on it, and the log says so."""

import pytest
import torch

from railkd.errors import UserError
from railkd.training.memory import with_less_memory


@pytest.mark.parametrize("fits", [0.5, 0.125, 0.0])
def test_less_data_is_tried_until_the_run_fits(fits: float) -> None:
    tried, said = [], []

    def train(share: float) -> str:
        tried.append(share)
        if share > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"trained with {share}"

    assert with_less_memory(train, 0.5, said.append) == f"trained with {fits}"
    assert tried == [share for share in (0.5, 0.125, 0.0) if share >= fits]
    assert len(said) == len(tried) - 1
    if said:
        assert said[0] == "GPU memory ran out with 50% of what was free for data; trying again with 12%"


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_step_that_does_not_fit_is_one_line(share: float) -> None:
    tried = []

    def train(part: float) -> None:
        tried.append(part)
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match="^GPU memory ran out with no data kept there; expected a smaller batch_size"):
        with_less_memory(train, share, lambda line: None)
    assert tried == ([0.5, 0.125, 0.0] if share else [0.0])


def test_another_error_is_no_reason_to_try_again() -> None:
    tried = []

    def train(part: float) -> None:
        tried.append(part)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        with_less_memory(train, 0.5, lambda line: None)
    assert tried == [0.5]

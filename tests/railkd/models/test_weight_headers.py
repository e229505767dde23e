"""Names, shapes and types of weights, read from a hub that is asked for nothing else."""

from pathlib import Path
from typing import Any

import pytest

from railkd.errors import UserError
from railkd.models import weight_headers
from railkd.models.checkpoints import Checkpoint, read_config


def test_headers_of_the_hub_are_asked_for_alone(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.utils import SafetensorsFileMetadata, SafetensorsRepoMetadata, TensorInfo

    local = Checkpoint(str(checkpoints / "bert2"))
    config = read_config(local, "m")
    expected = headers(local, config)
    tensors = {name: TensorInfo(w.dtype, list(w.shape), (0, 0)) for name, w in expected.items()}
    asked_for = []

    def metadata(self: Any, repo_id: str, revision: str | None = None) -> SafetensorsRepoMetadata:
        asked_for.append((repo_id, revision))
        file = SafetensorsFileMetadata(metadata={}, tensors=tensors)
        return SafetensorsRepoMetadata(None, False, {}, {weight_headers.WEIGHTS: file})

    far = Checkpoint("made/bert2", "a" * 40)
    with pytest.raises(UserError, match="^m: cannot load the hub checkpoint made/bert2"):
        headers(far, config)
    monkeypatch.setattr(huggingface_hub.HfApi, "get_safetensors_metadata", metadata)
    assert headers(far, config) == expected and asked_for == [("made/bert2", "a" * 40)]
    cached = str(checkpoints / "bert2" / weight_headers.WEIGHTS)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: cached)
    assert headers(far, config) == expected and len(asked_for) == 1


def headers(checkpoint: Checkpoint, config: Any) -> Any:
    return weight_headers.headers(checkpoint, config, "m")

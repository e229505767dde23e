"""Device and precision by a table of capabilities: what a card is, a test says; no card is needed."""

import pytest
import torch

from railkd import devices

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

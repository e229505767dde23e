"""Stand-ins for weights: as many and as large as a file's, in a small buffer."""

from railkd.models.stand_ins import stand_ins
from railkd.models.weight_headers import Weight


def test_stand_ins_take_no_memory() -> None:
    made = stand_ins({"huge": Weight((10**6, 10**4), "F32"), "bias": Weight((7,), "F16")})
    assert made["huge"].shape == (10**6, 10**4) and made["huge"].untyped_storage().nbytes() < 40e6
    assert made["huge"][0, :50].std() > 0.01 and made["bias"].shape == (7,)

"""Makes independent, named streams of random numbers from one seed.

A stream is seeded by (seed, name, position) alone, so two methods with one seed see the same batches, a layer draw
does not depend on the batch size, and a run resumed at an epoch continues exactly where it was.
"""

import hashlib

import torch


def stream_seed(seed: int, name: str, *position: int) -> int:
    """A 63-bit seed from the run's seed, the stream's name and a position such as the epoch."""
    digest = hashlib.sha256(repr((seed, name, *position)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(seed: int, name: str, *position: int) -> torch.Generator:
    """A CPU generator for one stream."""
    return torch.Generator().manual_seed(stream_seed(seed, name, *position))


def seed_global(seed: int, name: str, *position: int) -> None:
    """Seeds torch's global generators, which dropout and the initialisation of new heads draw from."""
    torch.manual_seed(stream_seed(seed, name, *position))

"""Chooses the device and the precision of a run."""

import resource
import sys

import torch
from torch import Tensor

from railkd.benchmark.config import check_device
from railkd.errors import UserError

CONTEXT = 600 * 2**20  # bytes of a GPU that CUDA itself takes for each process, or somewhat less


def device_for(name: str) -> torch.device:
    """``auto``: the GPU when there is one, the first for want of a number, as cuda:0: some functions of torch.cuda
    refuse a device without its number. Raises UserError for a device that this machine has not."""
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: no CUDA device is visible; expected auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(f"device {name}: expected one of the CUDA devices that are visible, cuda:0 to cuda:{last}")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def precision(setting: str, device: torch.device, width: int) -> torch.dtype:
    """``auto``: bfloat16 on a GPU that multiplies it (NVIDIA's since Ampere, and AMD's), else float32; on a CPU float32
    unless the model is at least 256 wide and the CPU multiplies bf16.

    A T4 or V100 emulates bf16, and torch calls it supported. They multiply float16, which no setting chooses: it needs
    a loss scale under which no gradient overflows, and the terms of a method differ by orders of magnitude.

    A CPU without bf16 instructions emulates them: there a product of 1,700 × 384 by 384 × 1,536 ran at a quarter of
    float32's rate (one core of a 2.5 GHz Xeon with AVX-512 but no AVX-512 BF16).
    """
    if setting == "bfloat16":
        return torch.bfloat16
    if setting == "float32":
        return torch.float32
    if device.type == "cuda":
        multiplies = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if multiplies else torch.float32
    if device.type != "cpu":
        return torch.float32
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast and width >= 256 else torch.float32


def limit_memory(device: torch.device, jobs: int) -> None:
    """Lets this process take its part of a GPU that ``jobs`` share, and no more, so that none starves the others.

    What CUDA keeps for each process is outside the limit. Beyond it torch raises OutOfMemoryError, as on a full GPU.
    """
    if device.type == "cuda" and jobs > 1:
        part = 1 / jobs - CONTEXT / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(max(part, 0.5 / jobs), device)


def to_device(inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Copies without waiting for the device."""
    if device.type == "cpu":
        return inputs
    return {name: value.pin_memory().to(device, non_blocking=True) for name, value in inputs.items()}


class _Pinned:
    """One of the two buffers of a ``Staging``."""

    def __init__(self) -> None:
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.copied: torch.cuda.Event | None = None  # when the device has what the buffer holds

    def fill(self, tensors: dict[str, Tensor], offsets: list[int], pin: bool) -> Tensor:
        """The tensors' bytes, each at its offset; the last offset is the size."""
        if self.copied is not None:
            self.copied.synchronize()  # of the batch before the last: has long happened
        if len(self.memory) < offsets[-1]:
            self.memory = torch.empty(offsets[-1], dtype=torch.uint8, pin_memory=pin)
        for tensor, start in zip(tensors.values(), offsets, strict=False):
            self.memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
        return self.memory[: offsets[-1]]


class Staging:
    """Copies tensors to a device through two pinned buffers in turn, in one copy, on a stream of its own.

    The host waits for nothing, pins memory once, and fills a buffer while the device still works on the batch before.
    """

    ALIGNMENT = 16  # bytes: any type's values may begin there

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._buffers = [_Pinned(), _Pinned()]

    def __call__(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors on the device, which they never share memory with."""
        offsets = [0]
        for tensor in tensors.values():
            offsets.append(offsets[-1] + -(-tensor.nbytes // self.ALIGNMENT) * self.ALIGNMENT)
        buffer = self._buffers[0]
        self._buffers.reverse()
        filled = buffer.fill(tensors, offsets, self._stream is not None)
        if self._stream is None:
            placed = filled.clone()
        else:
            with torch.cuda.stream(self._stream):
                placed = filled.to(self.device, non_blocking=True)
                buffer.copied = buffer.copied or torch.cuda.Event()
                buffer.copied.record()
            here = torch.cuda.current_stream(self.device)
            here.wait_event(buffer.copied)
            placed.record_stream(here)
        return {
            name: placed[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for (name, tensor), start in zip(tensors.items(), offsets, strict=False)
        }


def data_budget(device: torch.device, share: float) -> int | None:
    """Bytes that data may take of the memory of a GPU that this process may still take; None on a CPU, where data is
    read in its place."""
    if device.type == "cpu":
        return None
    reserved = torch.cuda.memory_reserved(device)
    free, total = torch.cuda.mem_get_info(device)
    free = min(free, int(torch.cuda.get_per_process_memory_fraction(device) * total) - reserved)
    unused = reserved - torch.cuda.memory_allocated(device)  # torch's own, for what comes
    return max(0, int(share * (free + unused)))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Mixed precision, off for float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's peak since training began, or the process's peak resident set so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(kib if sys.platform == "darwin" else kib * 1024)

"""Measure peak memory and what is free, and tell when it is full. Knows nothing of the work."""

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def start_peak(device: torch.device) -> None:
    """Reset the peak, on systems that support it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5")  # Linux: reset the peak of the resident set


def peak_bytes(device: torch.device) -> int:
    """Return the peak since ``start_peak`` in bytes: of GPU memory, or of the resident set.

    Return 0 if the system does not report it, as on a CPU without Linux.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not (_RESET.exists() and _STATUS.exists()):
        return 0
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * peaks[0] if peaks else 0


# What PyTorch says when the memory of the CPU is full, in place of an error of its own.
_FULL = ("DefaultCPUAllocator", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that memory, of the GPU or of the machine, is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(one in str(error) for one in _FULL)


def release(device: torch.device) -> None:
    """Give back memory that PyTorch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


_FREE = Path("/proc/meminfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.stat")


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes of memory that a new process can use; None if the system does not say.

    On a GPU these are bytes of its memory. Limits of a container count.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [one for one in (_free_of_machine(), _free_of_container()) if one is not None]
    return min(free, default=None)


def _free_of_machine() -> int | None:
    if not _FREE.exists():
        return None
    lines = _FREE.read_text(encoding="ascii").splitlines()
    found = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * found[0] if found else None


def _free_of_container() -> int | None:
    """Return the limit of a control group (version 2) less the memory that cannot be freed."""
    if not (_LIMIT.exists() and _USED.exists()):
        return None
    limit = _LIMIT.read_text(encoding="ascii").strip()
    if not limit.isdigit():
        return None
    pairs = map(str.split, _USED.read_text(encoding="ascii").splitlines())
    used = {name: int(value) for name, value in pairs}
    return int(limit) - used.get("anon", 0) - used.get("unevictable", 0)

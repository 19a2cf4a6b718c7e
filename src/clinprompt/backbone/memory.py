"""Tell how much memory a piece of work takes at its peak. Knows nothing of the work."""

from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def start_peak(device: torch.device) -> None:
    """Begin to watch for a new peak, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5")  # Linux: the peak of the resident set starts anew


def peak_bytes(device: torch.device) -> int:
    """Return the peak since ``start_peak``: of the GPU's allocator, or of the resident set.

    0 where the system does not tell. Outside Linux and GPUs it does not.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not (_RESET.exists() and _STATUS.exists()):
        return 0
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return 1024 * peaks[0] if peaks else 0

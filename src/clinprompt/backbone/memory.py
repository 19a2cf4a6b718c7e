"""Measure peak memory. Knows nothing of the work that is measured."""

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

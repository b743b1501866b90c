"""What a run costs in memory, and what rehearsal costs that hides behind the training steps."""

import contextlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def peak_memory_bytes() -> int:
    """The most memory this process has held since its start, or since `restart_peak_memory` where that is possible.

    It is the GPU's if the process uses one, else what was resident in the host's.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    try:
        # Not getrusage: on Linux its peak is at least that of the process which has started this one.
        return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def restart_peak_memory() -> None:
    """Have `peak_memory_bytes` start anew, for a process that does one run after the other: on GPUs and on Linux."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)


def rehearsal_cost(workers: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What all workers' rehearsal cost together.

    Args:
        workers: What each of them measured: times and bytes per step, the samples `stored`, also `stored_by_class`, and
            the `timeline` of its last steps; None if it did not measure any.

    Returns:
        The mean of the times and bytes, the samples stored by each worker, and the first worker's time line.
    """
    told = [worker for worker in workers if worker is not None]
    if not told:
        return None
    by_worker = ("stored", "stored_by_class")
    means = [name for name in told[0] if name not in (*by_worker, "timeline")]
    return {
        **{name: sum(worker[name] for worker in told) / len(told) for name in means},
        "stored": [worker["stored"] for worker in told],
        "stored_by_class": [{str(label): n for label, n in worker["stored_by_class"].items()} for worker in told],
        "timeline": [list(span) for span in told[0]["timeline"]],
    }

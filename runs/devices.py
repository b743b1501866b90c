"""Which devices a run computes on."""

import contextlib
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from redwood.core.errors import InvalidOptionError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def device_type(accelerator: str) -> str:
    """What `--accelerator` stands for on this machine: `cuda`, `mps` or `cpu`."""
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if accelerator == "gpu":
        return "mps" if torch.backends.mps.is_available() and not torch.cuda.is_available() else "cuda"
    return accelerator


def numbers_on_machine(devices: str, workers: int, nodes: int) -> list[int] | int:
    """What `Trainer(devices=...)` gets on each machine so that there is one device per worker.

    Raises:
        InvalidOptionError: If `devices` and `nodes` do not multiply to `workers`.
    """
    per_node, rest = divmod(workers, nodes)
    if rest:
        raise InvalidOptionError(f"--workers {workers} cannot be spread evenly over --nodes {nodes}.")
    if devices == "auto":
        return per_node
    listed = [int(part) for part in devices.strip(",").split(",")]
    if "," not in devices:
        listed = list(range(listed[0]))
    if len(set(listed)) != per_node:
        raise InvalidOptionError(
            f"--devices {devices} names {len(set(listed))} devices a machine, but --workers {workers} over "
            f"--nodes {nodes} makes {per_node}; give one device per worker."
        )
    return listed if "," in devices else per_node


def check_present(numbers: list[int] | int, accelerator: str) -> None:
    """Raise `InvalidOptionError` if this machine lacks one of the devices."""
    kind = device_type(accelerator)
    if kind == "cpu":
        return
    present = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    highest = max(numbers) if isinstance(numbers, list) else numbers - 1
    if not present:
        raise InvalidOptionError(
            f"--accelerator {accelerator}: this machine has no such device; use --accelerator cpu."
        )
    if highest >= present:
        raise InvalidOptionError(
            f"The workers need GPU number {highest}, counted from 0, but this machine has {present}; "
            "use fewer --workers, other --devices, or --accelerator cpu."
        )


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

"""The cost of a run: memory of this process, and the sums over all workers."""

import contextlib
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from redwood.core.schema import Json
from redwood.core.workers import gather_objects, sum_over_workers
from redwood.settings.protocols import Learner
from redwood.settings.scores.cost import USES, Cost

Flops = dict[str, list[float]]  # of each use, in each phase (P,)


def measure_cost(
    method: Learner, wall_time_s: float, training_time_s: float, training_samples: int, flops: Flops
) -> Cost:
    """The cost of a run; every worker has to call this.

    Args:
        method: The trained method of this worker.
        wall_time_s: Seconds of the run, once its data and its method are ready.
        training_time_s: Seconds of training alone.
        training_samples: Samples trained on by all workers.
        flops: FLOPs of each use in each phase, of all workers.
    """
    costs = method.costs()
    totals = sum_over_workers(torch.tensor([costs["training_flops"], costs["buffer_bytes"]], dtype=torch.float64))
    return Cost(
        wall_time_s=wall_time_s,
        training_time_s=training_time_s,
        training_samples=training_samples,
        samples_per_s=training_samples / max(training_time_s, 1e-9),
        training_flops=float(totals[0]),
        parameters=int(costs["parameters"]),
        peak_memory_bytes=max(gather_objects(peak_memory_bytes())),
        buffer_bytes=int(totals[1]),
        rehearsal=rehearsal_cost(gather_objects(costs.get("rehearsal"))),
        flops=flops,
    )


def add_phase(flops: Flops, method: Learner, validation: float, before: Mapping[str, float]) -> None:
    """Append the FLOPs of the finished phase to those of the phases before; every worker has to call this.

    Args:
        flops: FLOPs of each use in each phase, of all workers.
        method: The method of this worker.
        validation: FLOPs of all workers for the scores on held-out samples, so far, that the run itself computes.
        before: FLOPs of each use that the method had made before the run.
    """
    for use, total in flops_so_far(method, validation).items():
        # A later estimate of the steps that were never counted may be lower.
        flops[use].append(max(0.0, total - before.get(use, 0.0) - sum(flops[use])))


def flops_so_far(method: Learner, validation: float) -> dict[str, float]:
    """FLOPs of each use by all workers since the method was made; `validation` is added to its own of that use."""
    costs = method.costs()
    own = costs.get("flops", {"training": costs["training_flops"]})
    so_far = sum_over_workers(torch.tensor([own.get(use, 0.0) for use in USES], dtype=torch.float64))
    so_far[USES.index("validation")] += validation
    return dict(zip(USES, so_far.tolist(), strict=True))


def rehearsal_cost(workers: Sequence[Json | None]) -> Json | None:
    """Combine the rehearsal costs of all workers.

    Args:
        workers: The measurements of each worker; None if it measured nothing. They are times and bytes per step, the
            samples `stored`, also `stored_by_class`, and the `timeline` of its last steps.

    Returns:
        The mean of the times and bytes, the samples stored by each worker, and the first worker's time line.
    """
    measured = [worker for worker in workers if worker is not None]
    if not measured:
        return None
    by_worker = ("stored", "stored_by_class")
    means = [name for name in measured[0] if name not in (*by_worker, "timeline")]
    return {
        **{name: sum(worker[name] for worker in measured) / len(measured) for name in means},
        "stored": [worker["stored"] for worker in measured],
        "stored_by_class": [{str(label): n for label, n in worker["stored_by_class"].items()} for worker in measured],
        "timeline": [list(span) for span in measured[0]["timeline"]],
    }


def peak_memory_bytes() -> int:
    """The most memory this process has held since its start, or since `reset_peak_memory` where that is possible.

    It is the GPU's memory if the process has held any, else what was resident in the host's memory.
    """
    if torch.cuda.is_initialized() and (on_gpu := torch.cuda.max_memory_allocated()):
        return on_gpu
    try:
        # Not getrusage: on Linux its peak is at least that of the process which has started this one.
        return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory() -> None:
    """Start `peak_memory_bytes` anew, in a process that does one run after the other: on GPUs and on Linux."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)

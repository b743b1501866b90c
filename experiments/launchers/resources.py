"""The number of runs that this machine can do at once."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from redwood.engine.devices import device_type
from redwood.engine.run import Run

CGROUPS = Path("/sys/fs/cgroup")


class Resources:
    """The cores or GPUs of this machine, which runs take while they last.

    A GPU is named by its number, a core by None. On a machine with GPUs each run takes one GPU per worker. A GPU is
    listed several times if `--jobs` asks for more runs at once than there are GPUs: runs share it then.

    Attributes:
        total: How many places there are.
        on_cpu: Whether runs compute on the CPU.
    """

    def __init__(self, numbers: Sequence[int | None], on_cpu: bool = True) -> None:
        """Take the numbers of the GPUs, or None for each core or for devices that `--devices` names."""
        self.on_cpu = on_cpu
        self._free = list(numbers)
        self.total = len(self._free)
        self._distinct = len(set(numbers)) if None not in numbers else None

    @property
    def free(self) -> int:
        """The number of free places."""
        return len(self._free)

    def take(self, width: int) -> list[int | None] | None:
        """Give away `width` places, all if there are fewer; None as long as too few are free.

        Resources of one run have different numbers, unless there are not as many numbers.
        """
        if self._distinct is None or width > self._distinct:
            wanted = list(range(min(width, self.total)))
        else:
            wanted = sorted({number: index for index, number in reversed(list(enumerate(self._free)))}.values())[:width]
        if len(wanted) > len(self._free) or len(wanted) < min(width, self.total):
            return None
        taken = [self._free[index] for index in wanted]
        self._free = [number for index, number in enumerate(self._free) if index not in wanted]
        return taken

    def give_back(self, numbers: Sequence[int | None]) -> None:
        """Give back the numbers that `take` returned."""
        self._free += numbers


def find_resources(run: Run, jobs: int | None) -> Resources:
    """The cores or GPUs for runs with these options; `jobs` of them if that is given.

    If `--devices` names devices, all runs share them, one after the other unless `jobs` is given.
    """
    kind = device_type(run.accelerator)
    if kind == "cuda" and run.devices == "auto":
        gpus = max(torch.cuda.device_count(), 1)
        return Resources([index % gpus for index in range(jobs or gpus)], on_cpu=False)
    return Resources([None] * (jobs or (available_cores() if kind == "cpu" else 1)), on_cpu=kind == "cpu")


def resources_needed(run: Run, workers: int) -> int:
    """Return the number of cores or GPUs of a run: one per worker; on the CPU, one per thread of each worker."""
    return workers * max(run.threads, 1) if device_type(run.accelerator) == "cpu" else workers


def available_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group on Linux."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota() -> float | None:
    """Cores' worth of time per period, by version 2 of the control groups or version 1; None if there is no limit."""
    for names in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((CGROUPS / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        return None if quota in ("max", "-1") else int(quota) / int(period)
    return None

"""The choice of the launcher by the options."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redwood.engine.devices import device_type
from redwood.engine.launched import launched_processes
from redwood.engine.run import Run
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.launchers.here import ThisProcess
from redwood.experiments.launchers.launcher import Launcher
from redwood.experiments.launchers.pool import Pool
from redwood.experiments.launchers.ray_cluster import RayCluster, parse_ray
from redwood.experiments.launchers.resources import find_resources
from redwood.experiments.launchers.slurm import Slurm, parse_resources


@dataclass(frozen=True)
class LaunchOptions:
    """The options of the launcher of several runs.

    Attributes:
        launcher: `here`, `pool`, `slurm` or `ray`; None chooses one of the first two.
        jobs: Runs at once; None runs as many as there are cores or GPUs.
        slurm: Options of sbatch for each run, see `parse_resources`.
        ray: The cluster of Ray, and what each run needs there, see `parse_ray`.
    """

    launcher: str | None = None
    jobs: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)
    ray: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def here(self) -> bool:
        """True if the runs take place in this process, which shows their output."""
        if launched_processes() > 1:
            return True
        return self.launcher == "here" or (self.launcher is None and self.jobs == 1)

    def make(self, run: Run, folder: Path) -> Launcher:
        """The launcher for runs with the options of `run`; files of SLURM go to `folder`.

        Raises:
            RedwoodError: If there is no SLURM, or no Ray, here.
        """
        if self.here:
            return ThisProcess()
        if self.launcher == "slurm":
            return Slurm(folder / "slurm", self.slurm, self.jobs)
        if self.launcher == "ray":
            return RayCluster(self.ray, on_cpu=device_type(run.accelerator) == "cpu", at_once=self.jobs)
        return Pool(find_resources(run, self.jobs))


def launch_options(chosen: argparse.Namespace) -> LaunchOptions:
    """Read the launcher's options from the command line.

    Raises:
        UsageError: If the options contradict each other.
    """
    if chosen.launcher == "here" and chosen.jobs not in (None, 1):
        raise UsageError(f"--launcher here runs one job after the other; leave --jobs {chosen.jobs} out.")
    if chosen.slurm and chosen.launcher != "slurm":
        raise UsageError(f"--slurm {chosen.slurm[0]} is for --launcher slurm; add it.")
    if chosen.ray and chosen.launcher != "ray":
        raise UsageError(f"--ray {chosen.ray[0]} is for --launcher ray; add it.")
    return LaunchOptions(chosen.launcher, chosen.jobs, parse_resources(chosen.slurm or []), parse_ray(chosen.ray or []))

"""Which launcher the options ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redwood.engine.launched import launched_processes
from redwood.engine.run import Run
from redwood.experiments.launchers.here import ThisProcess
from redwood.experiments.launchers.launcher import Launcher
from redwood.experiments.launchers.pool import Pool
from redwood.experiments.launchers.resources import find_resources
from redwood.experiments.launchers.slurm import Slurm


@dataclass(frozen=True)
class LaunchOptions:
    """How several runs are to be run.

    Attributes:
        launcher: `here`, `pool` or `slurm`; None chooses one of the first two.
        jobs: Runs at once; None runs as many as there are cores or GPUs.
        slurm: Options of sbatch for each run, see `parse_resources`.
        stack_seeds: Whether seeds are trained side by side in one process, where methods and networks allow it.
    """

    launcher: str | None = None
    jobs: int | None = None
    slurm: Mapping[str, str] = field(default_factory=dict)
    stack_seeds: bool = False

    @property
    def here(self) -> bool:
        """Whether the runs take place in this process, which shows their output."""
        if launched_processes() > 1:
            return True
        return self.launcher == "here" or (self.launcher is None and self.jobs == 1)

    @property
    def stacks(self) -> bool:
        """Whether seeds are to be joined, and can be."""
        return self.stack_seeds and self.why_no_stacks is None

    @property
    def why_no_stacks(self) -> str | None:
        """Why seeds cannot be joined wherever these runs take place, as a clause; None if they can."""
        if launched_processes() > 1:
            return "the processes that torchrun or srun has started take single runs"
        return "each job of --launcher slurm is a single run" if self.launcher == "slurm" else None

    def make(self, run: Run, folder: Path) -> Launcher:
        """The launcher for runs with the options of `run`; files of SLURM go to `folder`.

        Raises:
            RedwoodError: If there is no SLURM here.
        """
        if self.here:
            return ThisProcess()
        if self.launcher == "slurm":
            return Slurm(folder / "slurm", self.slurm, self.jobs)  # type: ignore[return-value]  # gets no stacks
        return Pool(find_resources(run, self.jobs))

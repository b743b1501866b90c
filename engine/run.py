"""One run: its options, and what a method finds at `self.run`: the device, the clock, the logs and the progress."""

import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from redwood.core.checks import check_choice, check_range, check_types
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice, make_parts
from redwood.core.state import State
from redwood.engine.devices import ACCELERATORS, check_present, device_type, numbers_on_machine
from redwood.engine.fingerprint import INSIDE_PHASE
from redwood.engine.folder import RunFolder
from redwood.engine.logger_parts import LOGGERS, WANDB
from redwood.engine.progress import Reporter
from redwood.engine.tuning import Trial
from redwood.settings.scores.cost import TuningCost
from redwood.settings.scores.results import Results

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")
KEPT = ("last", "all")


class MetricsLogger(Protocol):
    """A logger, which takes logged values; see `redwood.engine.loggers`."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log values at a training step of the run."""

    def save(self) -> None:
        """Write what was logged to the disk."""

    def text(self) -> str:
        """Return the log that a checkpoint keeps; empty if a resumed run does not need it."""

    def log_results(self, results: Results, folder: Path | None) -> None:
        """Log the final results, and the files in the run folder."""

    def close(self, failed: bool) -> None:
        """Write the rest; `failed` tells how the run ended."""


@dataclass
class RunContext:
    """The context of a run: the comparison or sweep that it belongs to, or the earlier run that it extends.

    Attributes:
        group: The comparison's name, which is the group of Weights & Biases; None: there is none.
        waits: Whether it waits until another process leaves the folder.
        earlier: The run that this one extends, an `EarlierRun`.
        trial: The rule of a trial's end, if the run tries options.
        tuning_cost: The cost of choosing the run's options.
        draws: Whether it draws its figures. Those of a pair in a comparison are drawn for its first run.
    """

    group: str | None = None
    waits: bool = False
    earlier: Any = None
    trial: Trial | None = None
    tuning_cost: TuningCost | None = None
    draws: bool = True


@dataclass
class Run:
    """Options of a run that change neither the setting nor the method.

    A method also reports its state to this object.

    Attributes:
        folder: The run folder, or None if nothing is written.
        reporter: Shows the progress to the user.
        loggers: Where `log` writes to.
        global_step: Training steps (or environment steps) of the phases so far.
        num_phases: Phases of the run.
        sends_back: Whether this process is a worker that sends the method back at the end.
        saved_by: The number of workers that trained the state loaded for predictions; 0: as many as there are now.
        earlier_s: Seconds that the phase took before the run was resumed inside it.
        is_trained: Whether the state of a run is loaded right after `configure`. Then files of initial weights need not
            be read; they may be gone.
    """

    run_dir: str | None = None  # folder to write to (default: runs/<time>-<setting>-<method>)
    logger: Choice = LOGGERS.chosen("csv")  # logs in the run folder; several as csv,mlflow
    wandb: Choice = WANDB.chosen("disabled")  # log to Weights & Biases
    accelerator: str = "auto"  # accelerator of Lightning: auto, cpu, gpu, cuda or mps
    devices: str = "auto"  # devices of Lightning, such as 0,1 (default: one per worker)
    nodes: int = 1  # number of machines; start the workers with torchrun or srun
    precision: str = "32-true"  # precision of Lightning: 32-true, 16-mixed, bf16-mixed or 64-true
    threads: int = 0  # CPU threads per worker (0: one for networks under a million weights, else the default of torch)
    # processes per worker that decode image files ahead (default: share of the cores, at most 4; 0 below 5,000 samples)
    num_workers: int | None = None
    checkpoint_every: int = 1000  # training steps between checkpoints inside a phase (0: only between phases)
    keep_checkpoints: str = "last"  # checkpoints between phases to keep: last, or all (checkpoints/phase-000.pt, ...)
    quiet: bool = False  # print no progress
    resume: bool = field(default=False, metadata={"cmd": False})
    context: RunContext = field(default_factory=RunContext, metadata={"cmd": False})

    def __post_init__(self) -> None:
        make_parts(self)
        check_types(self)
        check_choice(self, "precision", PRECISIONS)
        check_choice(self, "accelerator", ACCELERATORS)
        check_choice(self, "keep_checkpoints", KEPT)
        check_range(self, "nodes", 1)
        check_range(self, "threads", 0, 1024)
        check_range(self, "checkpoint_every", 0)
        if self.num_workers is not None:
            check_range(self, "num_workers", 0, 1024)
        if self.devices != "auto" and not re.fullmatch(r"\d+(,\d+)*,?", self.devices):
            raise InvalidOptionError(
                f"--devices {self.devices} has to be auto, a number of devices, or device numbers such as 0,1."
            )
        in_comparison, waits = self.context.group is not None, self.context.waits
        options_file = "the comparison" if in_comparison else "config.yaml"
        self.folder = None
        if self.run_dir is not None:
            keep_all = self.keep_checkpoints == "all"
            self.folder = RunFolder(Path(self.run_dir), self.resume, options_file, keep_all, waits, in_comparison)
        self.reporter = Reporter()
        self.loggers: list[MetricsLogger] = []
        self.global_step = 0
        self.num_phases = 1
        self.sends_back = False
        self.is_trained = False
        self.saved_by = 0
        self.start_phase()

    def device_numbers(self, workers: int) -> list[int] | int:
        """Return the argument of `Trainer(devices=...)` on each machine that gives one device per worker.

        Raises:
            InvalidOptionError: If `--devices` and `--nodes` do not multiply to `workers`.
        """
        return numbers_on_machine(self.devices, workers, self.nodes)

    def check_devices(self, workers: int) -> None:
        """Raise `InvalidOptionError` if this machine lacks a device that the workers need."""
        check_present(self.device_numbers(workers), self.accelerator)

    def device(self, workers: int) -> torch.device:
        """The device that this worker computes on."""
        local = int(os.environ.get("LOCAL_RANK", "0"))
        numbers = self.device_numbers(workers)
        index = numbers[local] if isinstance(numbers, list) else local
        kind = device_type(self.accelerator)
        return torch.device(kind, index) if kind == "cuda" else torch.device(kind)

    def start_phase(self) -> None:
        """Start the clock of a phase."""
        self.earlier_s = 0.0
        self._phase_started = time.perf_counter()

    def phase_seconds(self) -> float:
        """Return the seconds that the phase has taken, `earlier_s` included."""
        return self.earlier_s + time.perf_counter() - self._phase_started

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log values at a training step of the run (default: the last step of the phases so far)."""
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.global_step if step is None else step)

    def save_logs(self) -> None:
        """Write what was logged to the disk."""
        for logger in self.loggers:
            logger.save()

    def logged(self) -> str:
        """The content of `metrics.csv` so far, for a checkpoint."""
        texts = [text for logger in self.loggers if (text := logger.text())]
        earlier = "" if self.folder is None else self.folder.logged
        return texts[0] if texts else earlier

    @property
    def directory(self) -> Path | None:
        """The path of the run folder, or None if nothing is written."""
        return None if self.folder is None else self.folder.path

    @property
    def writes(self) -> bool:
        """True if this worker writes files."""
        return self.folder is not None and self.folder.writable

    @property
    def saves_inside_phases(self) -> bool:
        """True if checkpoints are written inside phases, too."""
        return self.folder is not None and self.checkpoint_every > 0

    def checkpoint_path(self, phase: int) -> Path | None:
        """Return the path of the checkpoint inside a phase; None if nothing is written."""
        return None if self.folder is None else self.folder.inside_phase(phase)

    def checkpoint_to_resume(self, phase: int) -> Path | None:
        """The checkpoint that a resumed run goes on from inside a phase, if there is one."""
        path = self.checkpoint_path(phase)
        if self.folder is None or self.folder.starts_phase_again:
            return None
        return path if self.resume and path is not None and path.exists() else None

    def go_on_if_restarted(self) -> None:
        """Go on from the checkpoints if torchrun has started the workers of this run again, and say so.

        Has to be called before the workers join: until then, none of this life has written to the folder.
        """
        if self.resume or self.folder is None or not self.folder.is_of_this_launch():
            return
        self.resume = True
        self.folder.go_on()
        if os.environ.get("RANK") == "0":
            print(
                f"torchrun has started workers of the same --rdzv-id again; the run in {self.run_dir} goes on",
                file=sys.stderr,
            )

    def stamp(self, phase: int) -> State:
        """Return the values that tie a checkpoint inside a phase to this run; their key is `STAMP`."""
        assert self.folder is not None
        return self.folder.fingerprint.stamp(INSIDE_PHASE, phase, self.logged())

"""One run: where it computes, what it writes, and how it goes on after an interruption."""

import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from redwood.core.checks import check_choice, check_range, check_types
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.files import remove_temporaries, write_atomically
from redwood.core.workers import rank
from redwood.runs.checkpoints import read_checkpoint, write_checkpoint
from redwood.runs.devices import ACCELERATORS, check_present, device_type, numbers_on_machine
from redwood.runs.fingerprint import STAMP, Fingerprint
from redwood.runs.lock import LOCK_FILE, FolderLock
from redwood.runs.progress import Reporter

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from redwood.settings.results import Results


PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")
WANDB_MODES = ("disabled", "offline", "online")


BETWEEN, INSIDE = "between two phases", "inside a phase"  # the kinds of checkpoints
ANEW = "start the run anew"
FROM_ITS_START = "remove it to go on from the start of its phase"


@dataclass
class Run:
    """Options of a run that change neither the protocol nor the method, and the run directory.

    A run directory holds `config.yaml` (reproduces the run), `results.json` (only once the run is complete),
    `metrics.csv`, `accuracy_matrix.png`, `accuracy_curve.png` (regression: `rmse_...`, environments:
    `return_...`) and `checkpoints/`.
    """

    run_dir: str | None = None  # folder to write to (default: runs/<time>-<setting>-<method>)
    wandb: str = "disabled"  # Weights & Biases: online, offline or disabled
    # Weights & Biases project (default: what WANDB_PROJECT says, else redwood)
    project: str = field(default_factory=lambda: os.environ.get("WANDB_PROJECT") or "redwood")
    accelerator: str = "auto"  # handed to Lightning: auto, cpu, gpu, cuda or mps
    devices: str = "auto"  # handed to Lightning: which devices, such as 0,1 (default: one per worker)
    nodes: int = 1  # machines that the workers are spread over; start them with torchrun or srun
    precision: str = "32-true"  # handed to Lightning: 32-true, 16-mixed, bf16-mixed or 64-true
    threads: int = 0  # CPU threads per worker (0: one for networks under a million weights, else torch's choice)
    checkpoint_every: int = 1000  # training steps between checkpoints inside a phase (0: only between phases)
    quiet: bool = False  # print no progress
    group: str | None = field(default=None, metadata={"cmd": False})  # Weights & Biases group: the comparison's name
    resume: bool = field(default=False, metadata={"cmd": False})

    def __post_init__(self) -> None:
        """Refuse values that are out of range."""
        check_types(self)
        check_choice(self, "precision", PRECISIONS)
        check_choice(self, "wandb", WANDB_MODES)
        check_choice(self, "accelerator", ACCELERATORS)
        check_range(self, "nodes", 1)
        check_range(self, "threads", 0)
        check_range(self, "checkpoint_every", 0)
        if self.devices != "auto" and not re.fullmatch(r"\d+(,\d+)*,?", self.devices):
            raise InvalidOptionError(
                f"--devices {self.devices} has to be auto, a number of devices, or device numbers such as 0,1."
            )
        self.loggers: list[Logger] = []
        self.reporter = Reporter()
        self.global_step = 0
        self.num_phases = 1
        self.sends_back = False  # whether this process is a worker that sends the method back at the end
        self.fingerprint = Fingerprint()
        self.logged = ""
        self._lock = FolderLock()
        self.start_phase()

    @property
    def directory(self) -> Path | None:
        """The run directory, or None if nothing is to be written."""
        return None if self.run_dir is None else Path(self.run_dir)

    @property
    def writes(self) -> bool:
        """Whether this worker writes files: the first one does, if there is a run directory."""
        return self.directory is not None and rank() == 0

    def device_numbers(self, workers: int) -> list[int] | int:
        """What `Trainer(devices=...)` gets on each machine so that there is one device per worker.

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

    @property
    def saves_inside_phases(self) -> bool:
        """Whether training writes checkpoints inside a phase, too."""
        return self.directory is not None and self.checkpoint_every > 0

    def checkpoint_path(self, phase: int) -> Path | None:
        """Where the checkpoint inside a phase lies."""
        return None if self.directory is None else self.directory / "checkpoints" / f"inside-phase-{phase:03d}.ckpt"

    def refuse_used_directory(self) -> None:
        """Raise `RedwoodError` if the run directory of a new run is not empty: it may hold another run's results."""
        if self.resume or not self.writes or self.directory is None or not self.directory.exists():
            return
        if not self.directory.is_dir() or not _is_unused(self.directory):
            raise RedwoodError(
                f"--run_dir {self.directory} exists and is not empty; choose another folder, "
                f"or go on with that run by --resume {self.directory}."
            )

    def create(self, config: dict[str, Any]) -> None:
        """Make the run directory and lock it, or raise `RedwoodError` if that cannot be done."""
        if not self.writes:
            return
        assert self.directory is not None
        try:
            (self.directory / "checkpoints").mkdir(parents=True, exist_ok=True)
            self._own()
            self.refuse_used_directory()  # another process may have had it since the first look
            write_atomically(self.directory / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        except OSError as error:
            raise RedwoodError(f"--run_dir {self.directory} cannot be written ({error.strerror}).") from error

    def save_boundary(self, state: dict[str, Any]) -> None:
        """Save all that the rest of the run depends on, between two phases, and drop the checkpoint inside the last."""
        if not self.writes:
            return
        assert self.directory is not None
        path = self.directory / "checkpoints" / "boundary.pt"
        write_checkpoint({**state, STAMP: self.stamp(BETWEEN, state["next_phase"])}, path)
        self._drop_checkpoints_before(state["next_phase"])

    def _drop_checkpoints_before(self, phase: int) -> None:
        coming = self.checkpoint_path(phase)
        assert coming is not None
        for inside in coming.parent.glob("inside-phase-*"):
            if inside.is_dir() and not inside.name.startswith(coming.name):
                shutil.rmtree(inside)
            elif not inside.name.startswith(coming.name):
                inside.unlink()

    def _own(self) -> None:
        """Lock the run directory, and remove what an earlier process of the run was writing when it was killed."""
        assert self.directory is not None
        self._lock.acquire(self.directory)
        for folder in (self.directory, self.directory / "checkpoints"):
            remove_temporaries(folder)

    def tidy(self) -> None:
        """Remove what a process that was killed has left of a complete run, unless another one is writing to it."""
        with suppress(RedwoodError):
            self._own()
        self.unlock()

    def load_boundary(self) -> dict[str, Any] | None:
        """The state saved last between two phases, or None if there is none or this is not a resumed run.

        Raises:
            RedwoodError: If the file, or the later one inside the phase, is damaged or of a run with other options or
                data; or if another process is still writing to the run directory.
        """
        if not self.resume or self.directory is None:
            return None
        if self.writes and self.directory.exists():
            self._own()
        self._refuse_folders()
        path = self.directory / "checkpoints" / "boundary.pt"
        if not path.exists():
            self._refuse_headless()
            return None
        state = read_checkpoint(path, ANEW)
        stamp = self._check_stamp(state, BETWEEN, path, ANEW)
        self.fingerprint.identity, self.logged = stamp["id"], stamp["log"]
        inside = self.checkpoint_path(stamp["phase"])
        if inside is not None and inside.exists():
            own = self._check_stamp(read_checkpoint(inside, FROM_ITS_START), INSIDE, inside, FROM_ITS_START)
            if (own["id"], own["phase"]) != (stamp["id"], stamp["phase"]):
                raise RedwoodError(
                    f"The checkpoint {inside} is of another run, or of another phase, than {path}; {FROM_ITS_START}."
                )
            self.logged = own["log"]
        if self.writes:
            self._drop_checkpoints_before(stamp["phase"])
        return state

    def check_checkpoints(self, config: dict[str, Any], data: dict[str, Any] | None = None) -> None:
        """Raise `RedwoodError` if the checkpoints are damaged, or those of other options, or of other `data`."""
        self.fingerprint = Fingerprint(config, data)
        try:
            self.load_boundary()
        finally:
            self.unlock()

    def stamp(self, kind: str, phase: int) -> dict[str, Any]:
        """What ties a checkpoint, `BETWEEN` phases or `INSIDE` one, to this run."""
        from redwood.runs.loggers import CSVMetrics

        texts = [logger.text() for logger in self.loggers if isinstance(logger, CSVMetrics)]
        return self.fingerprint.stamp(kind, phase, texts[0] if texts else self.logged)

    def _check_stamp(self, content: dict[str, Any], kind: str, path: Path, remedy: str) -> dict[str, Any]:
        stamp: dict[str, Any] = content.pop(STAMP, None)
        options = "config.yaml" if self.group is None else "the comparison"
        self.fingerprint.check(stamp, kind, path, options, remedy)
        return stamp

    def _refuse_folders(self) -> None:
        """Find out before anything is trained that a file of the run cannot be written since a folder has its name."""
        assert self.directory is not None
        for pattern in ("metrics.csv", "results.json", "*.png", "config.yaml"):
            for path in self.directory.glob(pattern):
                if path.is_dir():
                    raise RedwoodError(f"{path} is a folder, where the run has a file of that name; remove it.")

    def _refuse_headless(self) -> None:
        """A run that has begun its first phase has a checkpoint from before it."""
        assert self.directory is not None
        for inside in (self.directory / "checkpoints").glob("inside-phase-*.ckpt"):
            raise RedwoodError(f"The checkpoint {inside} goes on from boundary.pt, which is missing; {ANEW}.")

    def start_phase(self) -> None:
        """Start the clock of a phase."""
        self.earlier_s = 0.0
        self._phase_started = time.perf_counter()

    def phase_seconds(self) -> float:
        """How long the phase has taken, with `earlier_s`, the time before an interruption."""
        return self.earlier_s + time.perf_counter() - self._phase_started

    def start_logging(self, config: dict[str, Any]) -> None:
        """Open the loggers: `metrics.csv`, and Weights & Biases if asked for.

        Raises:
            RedwoodError: If Weights & Biases cannot be reached; a new run directory is removed then.
        """
        from redwood.runs.loggers import make_loggers

        if not self.writes and (rank() != 0 or self.wandb == "disabled"):
            return
        try:
            self.loggers = make_loggers(self, config)
        except RedwoodError:
            if self.directory is not None and not self.resume:
                shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log values at a training step of the run (default: the last one of the phases so far)."""
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.global_step if step is None else step)

    def save_logs(self) -> None:
        """Bring what was logged to the disk."""
        for logger in self.loggers:
            logger.save()

    def finish(self, results: "Results") -> None:
        """Write results and plots, and close the loggers."""
        from redwood.runs.figures.curves import plot_timeline
        from redwood.runs.figures.plots import plot_accuracy_curve, plot_accuracy_matrix
        from redwood.runs.loggers import close_loggers, log_outcome

        if self.writes:
            assert self.directory is not None
            measure = results.measure.key
            plot_accuracy_matrix(results, self.directory / f"{measure}_matrix.png")
            plot_accuracy_curve(results, self.directory / f"{measure}_curve.png")
            timeline = (results.cost.rehearsal or {}).get("timeline", ())
            if any(name == "step" for name, _, _ in timeline):
                plot_timeline(timeline, self.directory / "rehearsal_timeline.png")
            results.save(self.directory / "results.json")
        log_outcome(self, results)
        close_loggers(self.loggers, failed=False)
        self.loggers, self.reporter = [], Reporter()

    def unlock(self) -> None:
        """Let other processes write to the run directory."""
        self._lock.release()

    def abandon(self) -> None:
        """Close the loggers of a run that failed or was interrupted."""
        from redwood.runs.loggers import close_loggers

        close_loggers(self.loggers, failed=True)
        self.loggers, self.reporter = [], Reporter()


def _is_unused(folder: Path) -> bool:
    """Whether a folder holds nothing, or only what a run leaves that is killed before it has written anything."""
    names = {path.name for path in folder.iterdir() if not path.match(".*.tmp")} - {LOCK_FILE}
    return not names or (names == {"checkpoints"} and not any((folder / "checkpoints").iterdir()))

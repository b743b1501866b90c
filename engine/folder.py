"""The folder of one run: its files, the processes that may write to it, and the start of a resumed run."""

import shutil
from contextlib import suppress
from pathlib import Path

import yaml

from redwood.core.calls import resume_call
from redwood.core.errors import ElsewhereError, RedwoodError
from redwood.core.files import link_or_copy, read_text, refuse_folders, remove_temporaries, write_atomically
from redwood.core.state import State
from redwood.core.torchrun import launch_id
from redwood.core.workers import rank
from redwood.engine.checkpoints import RESTART_PHASE, RESTART_RUN, read_checkpoint, write_checkpoint
from redwood.engine.fingerprint import BETWEEN_PHASES, INSIDE_PHASE, STAMP, Fingerprint
from redwood.engine.folder_lock import LOCK_FILE, PATIENCE_S, FolderLock

# Names the start of torchrun that has begun the run.
LAUNCH_FILE = ".launch"


class RunFolder:
    """The files of one run.

    A run folder holds `config.yaml` (reproduces the run), `results.json` (only once the run is complete),
    `metrics.csv`, `accuracy_matrix.png`, `accuracy_curve.png` (label sets: `map_...`, regression: `rmse_...`,
    environments: `return_...`), `cost_curve.png` (of several phases), `slices.png` (of `--slices`),
    `label_groups.png` (of label sets), `test_curves.png` (of `--eval_every`), each with an `.svg` beside it, and
    `checkpoints/`.

    The checkpoints are `boundary.pt`, written after each phase, and `inside-phase-*.ckpt`, written during the phase. If
    one checkpoint per phase is kept, there is `phase-*.pt`, too.

    Every worker reads the checkpoints. Only the first worker writes, and locks the folder.

    Attributes:
        path: The folder.
        fingerprint: Ties the checkpoints to this run.
        logged: The content of `metrics.csv` up to the checkpoint that a resumed run starts from.
        step_inside: Training step of the checkpoint inside the phase; None: there is none, or an agent wrote it.
        starts_phase_again: Whether a checkpoint inside the phase is ignored, because its number of workers differs.
    """

    def __init__(
        self,
        path: Path,
        resume: bool,
        options_file: str,
        keep_all: bool = False,
        waits: bool = False,
        shared: bool = False,
    ) -> None:
        """Name the folder; nothing is read or written yet.

        Args:
            path: The folder.
            resume: Whether the run goes on from its checkpoints.
            options_file: Where the user can change the options, for error messages.
            keep_all: Whether the checkpoint after each phase is kept, too.
            waits: Whether to wait for another process that writes to the folder, however long it takes.
            shared: Whether it is one run of a comparison: a run that is complete by then is refused.
        """
        self.path = path
        self.fingerprint = Fingerprint()
        self.logged = ""
        self.step_inside: int | None = None
        self.starts_phase_again = False
        self._lock = FolderLock()
        self._resume, self._options_file, self._keep_all, self._waits = resume, options_file, keep_all, waits
        self._shared = shared

    @property
    def writable(self) -> bool:
        """True if this worker writes files: only the first one does."""
        return rank() == 0

    def inside_phase(self, phase: int) -> Path:
        """The path of the checkpoint inside a phase."""
        return self.path / "checkpoints" / f"inside-phase-{phase:03d}.ckpt"

    def after_phase(self, phase: int) -> Path:
        """The path of the checkpoint after a phase, which only `--keep_checkpoints all` keeps."""
        return self.path / "checkpoints" / _name_after(phase)

    @property
    def _boundary(self) -> Path:
        return self.path / "checkpoints" / "boundary.pt"

    def is_of_this_launch(self) -> bool:
        """True if this launch of torchrun began the run in the folder, before it restarted this worker."""
        own = launch_id()
        try:
            return own is not None and read_text(self.path / LAUNCH_FILE) == own
        except OSError:
            return False

    def go_on(self) -> None:
        """Go on from the checkpoints, as if the run had been resumed."""
        self._resume = True

    def refuse_used(self) -> None:
        """Raise `RedwoodError` if the folder of a new run is not empty: it may hold the results of another run."""
        if self._resume or not self.writable or not self.path.exists():
            return
        if not self.path.is_dir() or not _is_unused(self.path):
            raise RedwoodError(
                f"--run_dir {self.path} exists and is not empty; choose another folder, "
                f"or go on with that run by {resume_call(self.path)}."
            )

    def create(self, config: State) -> None:
        """Make the folder, lock it and write `config.yaml`.

        Raises:
            RedwoodError: If that cannot be done, or another run uses the folder.
        """
        if not self.writable:
            return
        try:
            self._make()
            self._lock_and_clean()
            self.refuse_used()  # again: another process may have used it since the first check
            own = launch_id()
            if own is not None:
                write_atomically(self.path / LAUNCH_FILE, own.encode())
            write_atomically(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        except OSError as error:
            raise RedwoodError(f"--run_dir {self.path} cannot be written ({error.strerror}).") from error

    def load(self) -> State | None:
        """Read the state that a resumed run starts from: the one saved last between two phases.

        Returns:
            The state; None if this is a new run, or the run was stopped before its first checkpoint.

        Raises:
            RedwoodError: If this checkpoint, or the later one inside the phase, is damaged or of a run with other
                options or data.
            ElsewhereError: If another process is still writing to the folder, or has completed the run by now.
        """
        if not self._resume:
            return None
        if self.writable:
            self._make()
            self._lock_and_clean()
            self._refuse_complete()
        return self._read()

    def _read(self) -> State | None:
        self._refuse_subfolders()
        if not self._boundary.exists():
            self._refuse_missing_boundary()
            return None
        state = read_checkpoint(self._boundary, RESTART_RUN)
        stamp = self._take_stamp(state, BETWEEN_PHASES, self._boundary, RESTART_RUN)
        self.fingerprint.identity, self.logged = stamp["id"], stamp["log"]
        inside = self.inside_phase(stamp["phase"])
        if inside.exists():
            content = read_checkpoint(inside, RESTART_PHASE)
            self.step_inside = content.get("global_step")
            later = self._take_stamp(content, INSIDE_PHASE, inside, RESTART_PHASE)
            if (later["id"], later["phase"]) != (stamp["id"], stamp["phase"]):
                raise RedwoodError(
                    f"The checkpoint {inside} is of another run, or of another phase, than {self._boundary}; "
                    f"{RESTART_PHASE}."
                )
            self.starts_phase_again = later["config"].get("workers") != self.fingerprint.config.get("workers")
            if not self.starts_phase_again:
                self.logged = later["log"]
        if self.writable:
            self._remove_other_phases(stamp["phase"])
        return state

    def save(self, state: State, phase: int, log: str) -> None:
        """Save all that the rest of the run depends on, between two phases.

        Args:
            state: Tensors and plain values.
            phase: The phase that comes next; checkpoints inside earlier phases are removed.
            log: The content of `metrics.csv` so far.
        """
        if not self.writable:
            return
        content = {**state, STAMP: self.fingerprint.stamp(BETWEEN_PHASES, phase, log)}
        if self._keep_all and phase > 0:
            # Kept first: a run that is killed before the link trains this phase again, and writes both.
            write_checkpoint(content, self.after_phase(phase - 1))
            link_or_copy(self.after_phase(phase - 1), self._boundary)
        else:
            write_checkpoint(content, self._boundary)
        self._remove_other_phases(phase)

    def check(self, config: State, data: State | None = None) -> None:
        """Raise `RedwoodError` if the checkpoints are damaged, or of other options, or of other `data`.

        Nothing is checked while another process has the folder, which has checked it.
        """
        self.fingerprint = Fingerprint(config, data)
        try:
            if self.path.exists() and self._own():
                self._read()
        finally:
            self.unlock()

    def clean(self) -> None:
        """Remove what a killed process has left of a complete run, unless another process is writing."""
        with suppress(RedwoodError):
            self._own()
        self.unlock()

    def unlock(self) -> None:
        """Let other processes write to the folder."""
        self._lock.release()

    def _lock_and_clean(self) -> None:
        """Lock the folder, and remove unfinished files of an earlier process that was killed."""
        self._lock.acquire(self.path, None if self._waits else PATIENCE_S)
        self._clean()

    def _own(self) -> bool:
        """Try to lock the folder, and then remove unfinished files; return whether this process has the lock."""
        if not self._lock.try_acquire(self.path):
            return False
        self._clean()
        return True

    def _clean(self) -> None:
        for folder in (self.path, self.path / "checkpoints"):
            remove_temporaries(folder)

    def _make(self) -> None:
        """Make the folder.

        Raises:
            RedwoodError: If that cannot be done.
        """
        try:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RedwoodError(f"--run_dir {self.path} cannot be written ({error.strerror}).") from error

    def _refuse_complete(self) -> None:
        """Raise `ElsewhereError` if the run was completed before this process had the folder."""
        if self._shared and (self.path / "results.json").exists():
            raise ElsewhereError(f"The run in {self.path} has been completed by another process.")

    def _remove_other_phases(self, phase: int) -> None:
        kept = self.inside_phase(phase)
        for inside in kept.parent.glob("inside-phase-*"):
            if inside.name.startswith(kept.name):
                continue
            if inside.is_dir():
                shutil.rmtree(inside)
            else:
                inside.unlink()

    def _take_stamp(self, content: State, kind: str, path: Path, remedy: str) -> State:
        """Remove the stamp from a checkpoint, check it and return it."""
        stamp = content.pop(STAMP, None)
        return self.fingerprint.check(stamp, kind, path, self._options_file, remedy)

    def _refuse_subfolders(self) -> None:
        """Refuse a folder that has the name of one of the run's files, before anything is trained."""
        refuse_folders(self.path, ("metrics.csv", "results.json", "*.png", "*.svg", "config.yaml", "report.html"))

    def _refuse_missing_boundary(self) -> None:
        """A run that has begun its first phase has a checkpoint from before it."""
        for inside in (self.path / "checkpoints").glob("inside-phase-*.ckpt"):
            raise RedwoodError(f"The checkpoint {inside} goes on from boundary.pt, which is missing; {RESTART_RUN}.")


def read_boundary(folder: Path, config: State, phase: int | None = None) -> tuple[State, State]:
    """A checkpoint between two phases of the run in `folder`, which is neither locked nor changed, and its stamp.

    Args:
        folder: The run folder.
        config: The options of the run, as in its `config.yaml`.
        phase: The phase after which it was written, if the run has kept all. None: the last checkpoint.

    Raises:
        RedwoodError: If there is none yet, or it is damaged or of a run with other options.
    """
    name = "boundary.pt" if phase is None else _name_after(phase)
    path = folder / "checkpoints" / name
    if not path.is_file() and phase is not None:
        raise RedwoodError(f"The run in {folder} has no {path}, which a run writes with --keep_checkpoints all.")
    if not path.is_file():
        raise RedwoodError(f"The run in {folder} has no checkpoint yet ({path} is missing); {RESTART_RUN}.")
    state = read_checkpoint(path, RESTART_RUN)
    stamp = state.pop(STAMP, None)
    return state, Fingerprint(config, None).check(stamp, BETWEEN_PHASES, path, "config.yaml", RESTART_RUN)


def _name_after(phase: int) -> str:
    return f"phase-{phase:03d}.pt"


def _is_unused(folder: Path) -> bool:
    """True if a folder is empty, or holds only the files of a run that was killed before its first output."""
    names = {path.name for path in folder.iterdir() if not path.match(".*.tmp")}
    names -= {name for name in names if name.startswith(LOCK_FILE) or name == LAUNCH_FILE}
    return not names or (names == {"checkpoints"} and not any((folder / "checkpoints").iterdir()))

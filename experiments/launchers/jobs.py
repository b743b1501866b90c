"""One run of a comparison: its options for the process that runs it, and its outcome."""

import gc
import re
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

from redwood.core.calls import in_python, resume_call
from redwood.core.errors import DataError, ElsewhereError, NotApplicableError, RedwoodError
from redwood.core.files import read_json, write_json
from redwood.core.printable import printable
from redwood.engine.cost import reset_peak_memory
from redwood.engine.folder_lock import refuse_file
from redwood.engine.names import short_name
from redwood.engine.processes import WorkerCrashedError
from redwood.engine.run import RunContext
from redwood.engine.signals import Stopped
from redwood.engine.tuning import Trial
from redwood.experiments.command_line.options import Options, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.runs.runner import execute
from redwood.settings.scores.cost import TuningCost
from redwood.settings.scores.results import Results

CLASS_ORDER_SEED = "--class_order_seed"  # the option of a run by which a comparison gives it an order of the classes


@dataclass(frozen=True)
class Failure:
    """The failure of a run.

    Attributes:
        reason: One sentence for the user.
        unforeseen: Whether it was a mistake in the code; the process may hold a broken device since then.
        traceback: The traceback if it is known; it has been printed already.
        applies: Whether the method applies to the setting; with some data, such as numbers to predict, it may not.
    """

    reason: str
    unforeseen: bool
    traceback: str = ""
    applies: bool = True


@dataclass(frozen=True)
class Job:
    """A pair with one seed, and one order of the classes if it has several, in a folder of its own.

    Attributes:
        pair: What to run.
        arguments: Options of the comparison, of which the pair takes its own.
        seed: Seed of this run.
        folder: Its run directory; it goes on with what it finds there.
        width: Cores or GPUs that it takes while it runs, see `redwood.experiments.launchers.resources`.
        devices: Numbers of the GPUs that it is to use, as `--devices` has them; None leaves the option as given.
        waits: Whether to wait while another process has the folder, however long it takes.
        group: What its runs are logged as together (default: the name of the folder around its own).
        name: Its name for the user (default: the pair and the seed).
        trial: When it ends, if it is a trial of a sweep.
        tuning_cost: What the sweep has cost that has chosen its options.
        draws: Whether the run draws its figures.
    """

    pair: Pair
    arguments: tuple[str, ...]
    seed: int
    folder: Path
    width: int = 1
    devices: str | None = None
    waits: bool = False
    group: str = ""
    name: str = ""
    trial: Trial | None = None
    tuning_cost: TuningCost | None = None
    draws: bool = True

    @property
    def label(self) -> str:
        """The run's name for the user."""
        return self.name or f"{short_name(self.pair.setting)} / {short_name(self.pair.method)}, {self.repeat}"

    @property
    def repeat(self) -> str:
        """The seed and the class order of the run, in words."""
        order = dict(zip(self.arguments, self.arguments[1:], strict=False)).get(CLASS_ORDER_SEED)
        return f"seed {self.seed}" if order is None else f"seed {self.seed}, class order {order}"

    @property
    def log(self) -> Path:
        """The file for its output if it has a process of its own; else for the traceback of an unforeseen failure."""
        return self.folder / "log.txt"

    @property
    def complete(self) -> bool:
        """True if its results are there."""
        return (self.folder / "results.json").exists()

    def results(self) -> Results:
        """The results, once it is complete.

        Raises:
            DataError: If the file is damaged.
        """
        return Results.load(self.folder / "results.json")

    @property
    def _failure_file(self) -> Path:
        return self.folder / "failure.json"

    def write_failure(self, failure: Failure) -> None:
        """Write how the run has failed: the process that asks for it may be another one, on another machine."""
        with suppress(OSError):  # the failure may be that nothing can be written here
            write_json(self._failure_file, asdict(failure))

    def forget_failure(self) -> None:
        """Have the run tried again.

        Raises:
            RedwoodError: If its folder is a file.
        """
        refuse_file(self.folder)
        self._failure_file.unlink(missing_ok=True)

    def outcome(self) -> Results | Failure | None:
        """Return the results or the failure of the run, whichever process ran it; None if it has not ended.

        Raises:
            DataError: If the file of its results is damaged.
        """
        if self.complete:
            return self.results()
        with suppress(DataError):
            match read_json(self._failure_file):
                case {
                    "reason": str(reason),
                    "unforeseen": bool(unforeseen),
                    "traceback": str(text),
                    "applies": bool(applies),
                }:
                    return Failure(reason, unforeseen, text, applies)
        return None


@dataclass(frozen=True)
class Elsewhere:
    """The run has not ended: another process has its folder.

    Attributes:
        reason: One sentence for the user.
    """

    reason: str


Outcome: TypeAlias = Results | Failure | Elsewhere


def settled(job: Job, outcome: Outcome, folder: Path) -> Results | Failure:
    """The outcome; if another process had the run: how the run ended there.

    Args:
        job: The run.
        outcome: How it has ended.
        folder: The folder of all runs, to go on with.

    Raises:
        ElsewhereError: If the other process is still at work on it.
    """
    if not isinstance(outcome, Elsewhere):
        return outcome
    ended = job.outcome()
    if ended is None:
        raise ElsewhereError(
            f"Another process is writing to {job.folder}; wait until it ends, or end it, "
            f"and go on with {resume_call(folder)}."
        )
    return ended


def run_job(job: Job) -> Outcome:
    """Run it in this process, from where it stopped if it has been started before.

    Returns:
        The results, the failure, or that another process has the folder. A failure is also printed to standard error,
        an unforeseen one with its traceback, and written to the folder.

    Raises:
        InterruptedRun: If the user interrupts it.
        TerminatedRun: If a signal such as SIGTERM ends it.
    """
    reset_peak_memory()
    try:
        return execute(options_of(job))
    except Stopped:
        raise
    except (Exception, SystemExit) as error:
        return outcome_of_error(job, error)
    finally:
        gc.collect()


def options_of(job: Job) -> Options:
    """Build the setting, the method and the run from the options of a job.

    Raises:
        RedwoodError: If a value is out of range or contradicts the setting.
    """
    options = parse_options(job.pair, list(job.arguments))
    return Options(
        setting=replace(options.setting, seed=job.seed),
        method=options.method,
        run=replace(
            options.run,
            run_dir=str(job.folder),
            devices=job.devices or options.run.devices,
            resume=True,
            context=RunContext(
                group=job.group or job.folder.resolve().parent.name,
                waits=job.waits,
                trial=job.trial,
                tuning_cost=job.tuning_cost,
                draws=job.draws,
            ),
        ),
    )


def outcome_of_error(job: Job, error: Exception | SystemExit) -> Failure | Elsewhere:
    """Turn the error that ended a job into its outcome; print a failure, and write it to the job's folder."""
    if isinstance(error, ElsewhereError):
        return Elsewhere(str(error))
    if isinstance(error, RedwoodError):
        if not in_python():  # there, the monitor tells it
            print(printable(f"error: {error}"), file=sys.stderr)
        failure = Failure(str(error), unforeseen=False, applies=not isinstance(error, NotApplicableError))
    else:
        details = "".join(traceback.format_exception(error))
        print(details, end="", file=sys.stderr)
        failure = Failure(_in_one_line(error), unforeseen=True, traceback=details)
    job.write_failure(failure)
    return failure


def _in_one_line(error: BaseException) -> str:
    """Return the error in one line; with several workers, the text of an error ends in the worker's traceback."""
    lines = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    if lines and isinstance(error, WorkerCrashedError):
        return next((line for line in reversed(lines) if re.match(r"[\w.]+(:|$)", line)), lines[-1])
    return ": ".join([type(error).__name__, *lines[:1]])

"""Tell the user how far a comparison is: a live display on a terminal or in a notebook, a line per run in a file."""

from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text
from typing_extensions import override

from redwood.core.calls import in_python
from redwood.engine.notebook_bar import NotebookBar
from redwood.experiments.launchers.jobs import Failure, Job
from redwood.experiments.report.tables import summary_of
from redwood.settings.scores.results import Results


class Monitor:
    """Prints nothing; base of the monitors that do.

    Attributes:
        done: Runs that are over, those that failed included.
        failed: Runs that failed.
        names_logs: Whether a failure names the file with what the run printed.
    """

    names_logs = True

    def __init__(self, console: Console, total: int, done: int) -> None:
        """Take where to print, how many runs there are, and how many of them were done before."""
        self._console, self._total = console, total
        self.done, self.failed = done, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def started(self, job: Job) -> None:
        """A run has started."""

    def ended(self, job: Job, outcome: Results | Failure) -> None:
        """A run has ended."""
        self.done += 1
        self.failed += isinstance(outcome, Failure) and outcome.applies

    def describe(self, job: Job, failure: Failure) -> str:
        """One line: the run, why it failed, and the file with its output; or why it is left out."""
        if not failure.applies:
            return f"{job.label} left out: {failure.reason}"
        log = f" (see {job.log})" if self.names_logs and job.log.exists() else ""
        return f"{job.label} failed: {' '.join(failure.reason.split())}{log}"


def _score_of(job: Job, results: Results) -> str:
    """The summary of a run; of a trial that ended early, also the phase."""
    done = len(results.tuning_curve)
    early = job.trial is not None and done < job.trial.phases
    return summary_of(results) + f"; ended early after phase {done}" * early


class HeadingMonitor(Monitor):
    """A heading over what each run prints, for runs in this process."""

    @override
    def started(self, job: Job) -> None:
        super().started(job)
        self._console.print(Text(job.label, style="bold"), soft_wrap=True)

    @override
    def ended(self, job: Job, outcome: Results | Failure) -> None:
        super().ended(job, outcome)
        if isinstance(outcome, Results):
            if job.trial is not None:  # other runs print their own results
                self._console.print(Text(_score_of(job, outcome)), soft_wrap=True)
        elif in_python() and not outcome.traceback:
            self._console.print(Text(self.describe(job, outcome)), soft_wrap=True)


class LineMonitor(Monitor):
    """A line for each run that starts, and for each that has ended."""

    @override
    def started(self, job: Job) -> None:
        super().started(job)
        self._console.print(Text(f"started {job.label}"), soft_wrap=True)

    @override
    def ended(self, job: Job, outcome: Results | Failure) -> None:
        super().ended(job, outcome)
        text = (
            self.describe(job, outcome) if isinstance(outcome, Failure) else f"{job.label}: {_score_of(job, outcome)}"
        )
        self._console.print(Text(f"[{self.done}/{self._total}] {text}"), soft_wrap=True)


class LiveMonitor(Monitor):
    """A live bar over the runs in work, below a line for each that has failed."""

    def __init__(self, console: Console, total: int, done: int) -> None:
        super().__init__(console, total, done)
        self._display = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._all = self._display.add_task("", total=total, completed=done)
        self._running: dict[Job, TaskID] = {}

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._display.stop()

    @override
    def started(self, job: Job) -> None:
        super().started(job)
        self._running[job] = self._display.add_task(f"  {escape(job.label)}", total=1)
        self._show()

    @override
    def ended(self, job: Job, outcome: Results | Failure) -> None:
        super().ended(job, outcome)
        if job in self._running:
            self._display.remove_task(self._running.pop(job))
        if isinstance(outcome, Failure):
            self._console.print(Text(self.describe(job, outcome)), soft_wrap=True)
        self._show()

    def _show(self) -> None:
        failed = f", [red]{self.failed} failed[/]" if self.failed else ""
        text = f"{self.done} done{failed}, {len(self._running)} running"
        self._display.update(self._all, completed=self.done, description=text)


class NotebookMonitor(Monitor):
    """A bar over all runs in a notebook while they last, below a line for each that has failed."""

    def __init__(self, console: Console, total: int, done: int, here: bool) -> None:
        super().__init__(console, total, done)
        self._bar, self._here = NotebookBar(), here

    def __exit__(self, *error: object) -> None:
        self._bar.clear()

    @override
    def started(self, job: Job) -> None:
        super().started(job)
        self._show(job.label)

    @override
    def ended(self, job: Job, outcome: Results | Failure) -> None:
        super().ended(job, outcome)
        if isinstance(outcome, Failure) and not (self._here and outcome.traceback):  # which has been printed
            self._console.print(Text(self.describe(job, outcome)), soft_wrap=True)
        self._show(f"{job.label}: {'failed' if isinstance(outcome, Failure) else summary_of(outcome)}")

    def _show(self, text: str) -> None:
        failed = f", {self.failed} failed" if self.failed else ""
        self._bar.show(self.done, self._total, f"{self.done} of {self._total} runs{failed}; {text}", at_once=True)


def make_monitor(console: Console, total: int, done: int, here: bool, quiet: bool) -> Monitor:
    """The monitor that fits.

    Args:
        console: Where to print.
        total: Runs of the comparison.
        done: How many of them were done before.
        here: Whether the runs take place in this process, which shows their output.
        quiet: Whether the user wants no progress.
    """
    if quiet:
        return Monitor(console, total, done)
    if console.is_jupyter:
        return NotebookMonitor(console, total, done, here)
    if here:
        return HeadingMonitor(console, total, done)
    return (LiveMonitor if console.is_terminal else LineMonitor)(console, total, done)

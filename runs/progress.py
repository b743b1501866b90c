"""Tell the user how far a run is: one live bar on a terminal, plain lines in a log file."""

import time
from typing import TYPE_CHECKING, Self

from redwood.core.workers import rank
from redwood.settings.measure import ACCURACY, Measure

if TYPE_CHECKING:
    from redwood.runs.run import Run


class Reporter:
    """Says nothing; base of those that do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def phase_started(self, index: int, steps: int) -> None:
        """A phase of `steps` training steps starts."""

    def step(self, done: int) -> None:
        """`done` training steps of the phase are over."""

    def phase_finished(self, index: int, average: float) -> None:
        """A phase is trained; accuracy (or another measure), averaged over the tasks so far."""

    def note(self, text: str) -> None:
        """Something that the user should know has come up."""


class LineReporter(Reporter):
    """A line per phase."""

    def __init__(self, num_phases: int, measure: Measure = ACCURACY) -> None:
        self._num_phases, self._measure = num_phases, measure
        self._started = 0.0

    def phase_started(self, index: int, steps: int) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        self._steps = steps

    def phase_finished(self, index: int, average: float) -> None:
        """Print the line."""
        self.print(self.line(index, average))

    def line(self, index: int, average: float) -> str:
        """What there is to say about a finished phase."""
        shown = f"{self._measure.show(average)} {self._measure.unit}".rstrip()
        return (
            f"phase {index + 1}/{self._num_phases}: {self._steps} steps "
            f"in {time.perf_counter() - self._started:.1f} s, "
            f"{self._measure.name} on the tasks so far {shown}"
        )

    def note(self, text: str) -> None:
        """Print it."""
        self.print(text)

    def print(self, line: str) -> None:
        """Print a line to standard output, at once."""
        print(line, flush=True)


class BarReporter(LineReporter):
    """A live bar below a line per phase."""

    def __init__(self, num_phases: int, measure: Measure = ACCURACY) -> None:
        super().__init__(num_phases, measure)
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar: Progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def phase_started(self, index: int, steps: int) -> None:
        """Start the bar anew."""
        super().phase_started(index, steps)
        self._bar.reset(self._task, total=steps, description=f"phase {index + 1}/{self._num_phases}")

    def step(self, done: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done)

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False)


def make_reporter(run: "Run", num_phases: int, measure: Measure = ACCURACY) -> Reporter:
    """The reporter that fits: a bar on a terminal, lines in a file; none if quiet, or on any worker but the first."""
    if run.quiet or rank() != 0:
        return Reporter()
    from rich.console import Console

    return (BarReporter if Console().is_terminal else LineReporter)(num_phases, measure)

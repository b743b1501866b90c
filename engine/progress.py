"""Tell the user how far a run is: one live bar on a terminal, plain lines in a log file."""

import math
import time
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import override

from redwood.core.printable import printable
from redwood.core.workers import rank
from redwood.engine.terminal import Terminal
from redwood.settings.scores.measure import ACCURACY, Measure


class Reporter:
    """Prints nothing; base of the reporters that do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def phase_started(self, index: int, steps: int) -> None:
        """A phase of `steps` training steps starts."""

    def step(self, done: int) -> None:
        """`done` training steps of the phase are over."""

    def phase_shortened(self, done: int) -> None:
        """The phase ends early, after `done` training steps."""

    def phase_finished(self, index: int, average: float) -> None:
        """A phase is trained; `average` is the accuracy (or another measure) over the tasks so far; NaN: none."""

    def note(self, text: str) -> None:
        """Something has come up that the user should know."""


class LineReporter(Reporter):
    """Prints a line per phase."""

    def __init__(self, num_phases: int, measure: Measure = ACCURACY) -> None:
        self._num_phases, self._measure = num_phases, measure
        self._started, self._steps = 0.0, 0

    @override
    def phase_started(self, index: int, steps: int) -> None:
        self._started, self._steps = time.perf_counter(), steps

    @override
    def phase_shortened(self, done: int) -> None:
        self._steps = done

    @override
    def phase_finished(self, index: int, average: float) -> None:
        self.print(self.line(index, average))

    def line(self, index: int, average: float) -> str:
        """The line of a finished phase."""
        seconds = time.perf_counter() - self._started
        steps = f"phase {index + 1}/{self._num_phases}: {self._steps} steps in {seconds:.1f} s"
        if math.isnan(average):
            return steps
        shown = f"{self._measure.show(average)} {self._measure.unit}".rstrip()
        return f"{steps}, {self._measure.name} on the tasks so far {shown}"

    @override
    def note(self, text: str) -> None:
        self.print(text)

    def print(self, line: str) -> None:
        """Print a line to standard output, at once."""
        print(printable(line), flush=True)


class BarReporter(LineReporter):
    """Prints a live bar below a line per phase."""

    def __init__(self, num_phases: int, measure: Measure = ACCURACY) -> None:
        super().__init__(num_phases, measure)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Terminal(),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    @override
    def phase_started(self, index: int, steps: int) -> None:
        super().phase_started(index, steps)
        self._bar.reset(self._task, total=steps, description=f"phase {index + 1}/{self._num_phases}")

    @override
    def step(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    @override
    def print(self, line: str) -> None:
        self._bar.console.print(line, highlight=False)


def make_reporter(quiet: bool, num_phases: int, measure: Measure = ACCURACY) -> Reporter:
    """A bar on a terminal, else lines; nothing if `quiet`, or on any worker but the first."""
    if quiet or rank() != 0:
        return Reporter()
    return (BarReporter if Terminal().is_terminal else LineReporter)(num_phases, measure)

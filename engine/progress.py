"""Tell the user how far a run is: one live bar on a terminal or in a notebook, plain lines in a log file."""

import math
import time
from collections.abc import Callable
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import override

from redwood.core.printable import printable
from redwood.core.workers import rank
from redwood.engine.notebook_bar import NotebookBar
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


# Seconds of training until the first line inside a phase. Each further line waits twice as long, up to a minute.
FIRST_LINE_S = 2.0
MOST_BETWEEN_LINES_S = 60.0
# A run that ends sooner is not told for how long it will go on.
LEAST_TOLD_S = 10.0


def about(seconds: float) -> str:
    """A time that is expected: `about 50 s`, `about 12 min` or `about 3.5 h`."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


class LineReporter(Reporter):
    """Prints a line per phase, and lines inside a long one, with the time that is left."""

    def __init__(
        self,
        num_phases: int,
        measure: Measure = ACCURACY,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take what to tell, and the clock that counts seconds."""
        self._num_phases, self._measure, self._clock = num_phases, measure, clock
        self._index, self._started, self._steps = 0, 0.0, 0
        self._first: tuple[int, float] | None = None  # the first step that this process has done in the phase, and when
        self._over: list[float] = []  # seconds of each phase of this process that is over, with its tests
        self._pause, self._told_at = FIRST_LINE_S, 0.0

    @override
    def phase_started(self, index: int, steps: int) -> None:
        now = self._clock()
        if self._index < index and self._steps:
            self._over.append(self._whole(now))
        self._index, self._started, self._steps, self._told_at = index, now, steps, now
        self._first = None

    @override
    def step(self, done: int) -> None:
        now = self._clock()
        self._first = (done, now) if self._first is None else self._first
        if not 0 < done < self._steps or now - self._told_at < self._pause:
            return
        self._told_at, self._pause = now, min(2 * self._pause, MOST_BETWEEN_LINES_S)
        spent = now - self._started
        left = self._pace(now, done) * (self._steps - done)
        left += self._of_later_phases(self._whole(now + left))
        where = f"phase {self._index + 1}/{self._num_phases}: {done} of {self._steps} steps in {spent:.1f} s"
        self.print(f"{where}; {about(left)} to the end")

    def _pace(self, now: float, done: int) -> float:
        """The seconds of a step; the first one warms up, and counts only while there is no other."""
        if self._first is None:
            return (now - self._started) / max(1, done)
        first, at = self._first
        return (now - at) / (done - first) if done > first else at - self._started

    def _whole(self, end: float) -> float:
        """The seconds that the whole phase takes without its start, where this process ends it at `end`."""
        return self._pace(end, self._steps) * self._steps

    def _of_later_phases(self, this: float) -> float:
        """The seconds that the phases after this one are expected to take, as those until now did."""
        known = [*self._over, this]
        return sum(known) / len(known) * (self._num_phases - self._index - 1)

    @override
    def phase_shortened(self, done: int) -> None:
        self._steps = done

    @override
    def phase_finished(self, index: int, average: float) -> None:
        self.print(self.line(index, average))

    def line(self, index: int, average: float) -> str:
        """The line of a finished phase."""
        seconds = self._clock() - self._started
        line = f"phase {index + 1}/{self._num_phases}: {self._steps} steps in {seconds:.1f} s"
        if not math.isnan(average):
            shown = f"{self._measure.show(average)} {self._measure.unit}".rstrip()
            line += f", {self._measure.name} on the tasks so far {shown}"
        left = self._of_later_phases(self._whole(self._started + seconds))
        return f"{line}; {about(left)} to the end" if left >= LEAST_TOLD_S else line

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
        self._bar.console.print(line, markup=False, highlight=False)


class NotebookReporter(LineReporter):
    """Shows a bar over all phases in a notebook while they last, with the last line beside it."""

    def __init__(self, num_phases: int, measure: Measure = ACCURACY) -> None:
        super().__init__(num_phases, measure)
        self._bar, self._line = NotebookBar(), ""

    def __exit__(self, *error: object) -> None:
        self._bar.clear()

    @override
    def phase_started(self, index: int, steps: int) -> None:
        super().phase_started(index, steps)
        self._bar.show(index, self._num_phases, self._line or f"phase {index + 1}/{self._num_phases}")

    @override
    def step(self, done: int) -> None:
        where = f"phase {self._index + 1}/{self._num_phases}: step {done} of {self._steps}"
        self._bar.show(self._index + done / max(self._steps, 1), self._num_phases, where)

    @override
    def phase_finished(self, index: int, average: float) -> None:
        self._line = self.line(index, average)
        self._bar.show(index + 1, self._num_phases, self._line, at_once=True)


def make_reporter(quiet: bool, num_phases: int, measure: Measure = ACCURACY) -> Reporter:
    """A bar on a terminal or in a notebook, else lines; nothing if `quiet`, or on any worker but the first."""
    if quiet or rank() != 0:
        return Reporter()
    terminal = Terminal()
    if terminal.is_jupyter:
        return NotebookReporter(num_phases, measure)
    return (BarReporter if terminal.is_terminal else LineReporter)(num_phases, measure)

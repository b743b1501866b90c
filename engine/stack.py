"""Several runs in one process, phase by phase: each begins a phase, all are trained side by side, each ends it.

`run_stack` is the way in. How networks are trained side by side is the affair of the methods.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import torch

from redwood.core.errors import RedwoodError
from redwood.core.seeding import random_state, set_random_state
from redwood.engine.loop import quiet_lightning, run_steps
from redwood.engine.run import Run
from redwood.engine.signals import Stopped, stop_signals
from redwood.settings.base import Setting
from redwood.settings.protocols import AnyPhase, Learner
from redwood.settings.results import Results


class NotStackableError(RedwoodError):
    """Runs cannot be trained side by side. What they have saved so far is what single runs would have saved."""


class Member(NamedTuple):
    """One run of a stack."""

    setting: Setting
    method: Learner
    run: Run


# How a run has ended: an exit is that of the user's code.
End: TypeAlias = Results | Exception | SystemExit
# Trains each method on its phase, and returns the error of each that has failed, else None.
# It raises `NotStackableError` before the first step if they cannot be trained side by side.
TrainStack: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], Sequence[Exception | None]]
# Is called with the number of a run before the process is its own for a while.
OnTurn: TypeAlias = Callable[[int], None]


class OwnClock:
    """The seconds of one run: those in which it has the process to itself, and its share of common ones."""

    def __init__(self) -> None:
        self._total = 0.0
        self._since: float | None = None

    def __call__(self) -> float:
        """Seconds so far."""
        return self._total + (0.0 if self._since is None else time.perf_counter() - self._since)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, the run has the process to itself."""
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._total, self._since = self(), None

    def add(self, seconds: float) -> None:
        """Count a share of common seconds."""
        self._total += seconds


class _Turns:
    """One run of the stack: it goes on from phase to phase, with random generators and a clock of its own."""

    def __init__(self, member: Member, number: int, on_turn: OnTurn) -> None:
        self.method, self.run = member.method, member.run
        self.clock = self.run.clock = OwnClock()
        self.run.side_by_side = True
        self.phase: AnyPhase | None = None
        self.end: End | None = None
        self._steps = run_steps(*member)
        self._number, self._on_turn = number, on_turn
        self._random = random_state()

    def go_on(self, error: BaseException | None = None) -> None:
        """Go on to the next phase, or to the end; with an error of the training, to the end."""
        self.phase = None
        with self._turn():
            try:
                self.phase = next(self._steps) if error is None else self._steps.throw(error)
            except StopIteration as end:
                self.end = end.value
            except Stopped:
                raise
            except (Exception, SystemExit) as failure:
                self.end = failure
        if self.end is not None:
            self.close()

    def fit(self) -> None:
        """Train on the phase alone, and go on."""
        assert self.phase is not None
        error = None
        with self._turn():
            try:
                self.method.fit(self.phase)
            except Exception as failure:
                error = failure
        self.go_on(error)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._on_turn(self._number)
        set_random_state(self._random)
        with self.clock.running():
            yield
        self._random = random_state()

    def close(self) -> None:
        """End the run where it is, and let others have its folder."""
        self._steps.close()
        if self.run.folder is not None:
            self.run.folder.unlock()

    @property
    def fits_alone(self) -> bool:
        """Whether the phase has to go on from a checkpoint that a single run has written inside it."""
        return self.phase is not None and self.run.checkpoint_to_resume(self.phase.index) is not None


def run_stack(members: Sequence[Member], train: TrainStack, on_turn: OnTurn = lambda number: None) -> list[End]:
    """Run several runs of one worker each, whose methods are of one class, and differ in the seed alone.

    Runs that are at the same phase are trained side by side. A resumed run that is behind others catches up first. Each
    run has the seconds in which it has the process to itself, and of the common ones its share by training steps.

    Args:
        members: The runs.
        train: Trains several methods on a phase each.
        on_turn: Is called before a run has the process to itself.

    Returns:
        The results of each run, or the error that has ended it.

    Raises:
        NotStackableError: If they cannot be trained side by side. All runs can be gone on with as single ones.
        Stopped: If a signal ends the stack; so does an interrupt.
    """
    threads, before = torch.get_num_threads(), random_state()
    runs = [_Turns(member, number, on_turn) for number, member in enumerate(members)]
    try:
        with quiet_lightning(), stop_signals():
            for run in runs:
                run.go_on()
            while any(run.phase is not None for run in runs):
                _train_next(runs, train)
    finally:
        for run in runs:
            run.close()
        torch.set_num_threads(threads)
        set_random_state(before)
    return [run.end for run in runs if run.end is not None]


def _train_next(runs: Sequence[_Turns], train: TrainStack) -> None:
    """Train the runs that are furthest behind, and have each go on."""
    waiting = [(run, run.phase) for run in runs if run.phase is not None]
    first = min(phase.index for _, phase in waiting)
    behind = [(run, phase) for run, phase in waiting if phase.index == first]
    alone = [run for run, _ in behind if run.fits_alone or len(behind) == 1 < len(waiting)]
    for run in alone:
        run.fit()
    together = [(run, phase) for run, phase in behind if run not in alone]
    if not together:
        return
    started = time.perf_counter()
    errors = train([run.method for run, _ in together], [phase for _, phase in together])
    seconds, steps = time.perf_counter() - started, sum(phase.steps for _, phase in together)
    for (run, phase), error in zip(together, errors, strict=True):
        run.clock.add(seconds * phase.steps / max(1, steps))
        run.go_on(error)

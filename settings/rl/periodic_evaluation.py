"""Evaluations inside a phase (`--eval_every`): the outcomes of test episodes after some of its steps."""

from collections.abc import Callable

from redwood.core.state import State
from redwood.settings.rl.outcomes import Outcome, Outcomes
from redwood.settings.rl.plain_state import NotPlainError

NEVER = 2**62


class PeriodicEvaluation:
    """Evaluates a method after every so many steps of a phase, and keeps the outcomes of this worker's episodes.

    No worker waits for another inside the phase: its outcomes are gathered when the phase is over.

    Attributes:
        next_evaluation: Steps of this worker after which the next evaluation is due; `NEVER` if none is.
        points: Steps of this worker, and the outcomes of its test episodes after them.
    """

    def __init__(self, play: Callable[[], Outcomes], every: int, total: int, *, untrained: bool) -> None:
        """Plan the evaluations; there is none at the end of the phase, where the run evaluates anyway.

        Args:
            play: Plays this worker's test episodes.
            every: Steps of this worker between two evaluations.
            total: Steps of this worker in the phase.
            untrained: Whether to evaluate before the first step, too.
        """
        self._play, self._every, self._total = play, every, total
        self.points: list[tuple[int, Outcomes]] = []
        self.next_evaluation = self._due(0 if untrained else every)

    def evaluate(self, spent: int) -> None:
        """Evaluate after `spent` steps."""
        self.points.append((spent, self._play()))
        self.next_evaluation = self._due((spent // self._every + 1) * self._every)

    def _due(self, step: int) -> int:
        return step if step < self._total else NEVER

    def state_dict(self) -> State:
        """Return the outcomes so far, and when the next evaluation is due."""
        points = [
            [spent, [[list(outcome) for outcome in task] for task in outcomes]] for spent, outcomes in self.points
        ]
        return {"points": points, "next_evaluation": self.next_evaluation}

    def load_state_dict(self, state: State) -> None:
        """Continue after earlier evaluations.

        Raises:
            NotPlainError: If they are evaluations of another phase.
        """
        points = [
            (int(spent), [[Outcome(*outcome) for outcome in task] for task in outcomes])
            for spent, outcomes in state["points"]
        ]
        if not all(0 <= spent < self._total for spent, _ in points):
            raise NotPlainError("the evaluations are those of another phase")
        self.points, self.next_evaluation = points, int(state["next_evaluation"])

"""The step budget of a phase, and the returns of its training episodes."""

from bisect import bisect_left

from redwood.core.errors import RedwoodError
from redwood.core.state import State
from redwood.core.workers import gather_objects, world_size
from redwood.settings.rl.periodic_evaluation import NEVER, PeriodicEvaluation
from redwood.settings.rl.plain_state import NotPlainError
from redwood.settings.scores.prequential import CURVE_POINTS


class BudgetSpentError(RedwoodError):
    """An environment was used after the last step of its phase's budget."""

    def __init__(self, total: int) -> None:
        super().__init__(
            f"The {total:,} steps of the phase are spent, and its environments are closed; "
            "stop once phase.budget.left is 0."
        )


class PhaseOverError(RedwoodError):
    """An environment was used after its phase."""

    def __init__(self) -> None:
        super().__init__(
            "The phase is over, and its environments are closed, whatever was left of its budget; "
            "step them within fit only, and ask the next phase for new ones."
        )


class Steps:
    """The environment steps of one worker in one phase; all environments of the phase count them.

    Attributes:
        total: Steps of the phase.
        spent: Steps taken so far.
        next_evaluation: Steps after which `evaluate` has to be called; `NEVER` if there is no such number.
    """

    __slots__ = ("_periodic", "next_evaluation", "spent", "total")

    def __init__(self, total: int, periodic: PeriodicEvaluation | None = None) -> None:
        self.total, self.spent = total, 0
        self._periodic = periodic
        self.next_evaluation = NEVER if periodic is None else periodic.next_evaluation

    def evaluate(self) -> None:
        """Evaluate the method after the steps taken so far."""
        assert self._periodic is not None
        self.next_evaluation = NEVER  # the method may use its environments meanwhile
        self._periodic.evaluate(self.spent)
        self.next_evaluation = self._periodic.next_evaluation

    def go_on(self, spent: int) -> None:
        """Continue after `spent` steps; the evaluations have been loaded."""
        self.spent = spent
        self.next_evaluation = NEVER if self._periodic is None else self._periodic.next_evaluation


class Budget:
    """The environment steps of one worker in one phase, which a method can only read."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    @property
    def total(self) -> int:
        """Steps of the phase."""
        return self._steps.total

    @property
    def spent(self) -> int:
        """Steps taken so far."""
        return self._steps.spent

    @property
    def left(self) -> int:
        """Steps still to be taken."""
        return self._steps.total - self._steps.spent


class OnlineReturn:
    """The returns of a phase's training episodes.

    An episode that the end of the budget cuts off does not count, because its return is unknown.
    """

    def __init__(self, steps: int) -> None:
        """Expect `steps` steps of this worker."""
        self._steps = steps
        self._ends: list[int] = []
        self._returns: list[float] = []

    def add(self, step: int, value: float) -> None:
        """Add an episode that ended after `step` steps of this worker, with the return `value`."""
        self._ends.append(step)
        self._returns.append(value)

    def take(self) -> list[tuple[int, float]]:
        """Return the episodes so far, as pairs of last step and return, and forget them."""
        episodes = list(zip(self._ends, self._returns, strict=True))
        self._ends, self._returns = [], []
        return episodes

    def span(self) -> int:
        """Return the number of steps of all workers that the curve covers."""
        return self._steps * world_size()

    def curve(self) -> list[tuple[int, float]]:
        """Return at most `CURVE_POINTS` pairs: steps of this phase, mean return of the episodes since the last pair.

        Steps and episodes of all workers count, so every worker has to call it. An episode belongs to the bin that
        holds its last step. Bins are as equal as whole steps allow. The last pair is at the end of the phase, which
        tells phases apart. A phase in which no episode ended has no pairs.
        """
        workers = gather_objects((self._ends, self._returns))
        total = self.span()
        points = min(CURVE_POINTS, total)
        edges = [(index + 1) * total // points for index in range(points)]  # the last step of each bin
        bins: list[list[float]] = [[] for _ in range(points)]
        for ends, returns in workers:
            for end, value in zip(ends, returns, strict=True):
                # Workers step side by side: after `end` steps of one, all have taken this number together.
                bins[bisect_left(edges, end * len(workers))].append(value)
        filled = [index for index, values in enumerate(bins) if values]
        shown = [edges[index] for index in filled[:-1]] + [total]
        return [(edge, sum(bins[index]) / len(bins[index])) for edge, index in zip(shown, filled, strict=False)]

    def state_dict(self) -> State:
        """Return the episodes so far."""
        return {"ends": list(self._ends), "returns": list(self._returns)}

    def load_state_dict(self, state: State) -> None:
        """Continue from earlier episodes.

        Raises:
            NotPlainError: If they are episodes of another phase.
        """
        ends, returns = [int(end) for end in state["ends"]], [float(value) for value in state["returns"]]
        if len(ends) != len(returns) or not all(0 < end <= self._steps for end in ends):
            raise NotPlainError("the episodes are those of another phase")
        self._ends, self._returns = ends, returns


class ShownReturn:
    """The returns of a phase's training episodes, which a method can only read."""

    __slots__ = ("_online",)

    def __init__(self, online: OnlineReturn) -> None:
        self._online = online

    def span(self) -> int:
        """Return the number of steps of all workers that the curve covers."""
        return self._online.span()

    def curve(self) -> list[tuple[int, float]]:
        """Return the pairs of `OnlineReturn.curve`; every worker has to call it."""
        return self._online.curve()

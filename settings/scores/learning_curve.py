"""The learning curve of a task: the test accuracy after each of its first mini-batches."""

from collections.abc import Callable, Sequence

from redwood.core.errors import InvalidOptionError
from redwood.core.state import State
from redwood.settings.data.dataset import Dataset


class LearningCurve:
    """Scores a method just before the loader of a phase serves a mini-batch, that is after all earlier ones.

    Attributes:
        values: `Z_b` for b = 0..n as far as measured: test accuracy after b mini-batches; None: not trained yet.
    """

    def __init__(self, score: Callable[[], float | None], n: int) -> None:
        """Call `score` before mini-batches 0..n; every worker serves them, so all of them score together."""
        self._score, self._n = score, n
        self.values: list[float | None] = []

    def before_batch(self, number: int) -> None:
        """Score before the loader serves mini-batch `number` of the phase, counted over all passes."""
        if number <= self._n and number == len(self.values):
            self.values.append(self._score())

    def state_dict(self) -> State:
        """The values so far."""
        return {"values": list(self.values)}

    def load_state_dict(self, state: State) -> None:
        """Continue with earlier values."""
        self.values = list(state["values"])


def check_lca(n: int, setting: str, data: Dataset, batches: Sequence[int] | None) -> None:
    """Check that the learning curve of each task can be measured over `n` mini-batches.

    Args:
        n: The option `lca`.
        setting: Name of the setting.
        data: The data set.
        batches: Mini-batches of each phase; None where a phase does not train one task.

    Raises:
        InvalidOptionError: If it cannot.
    """
    if batches is None:
        raise InvalidOptionError(
            f"--lca {n} needs phases of one task each, which {setting} does not have; leave it out, or use --setting "
            "task_incremental."
        )
    if data.is_regression:
        raise InvalidOptionError(
            f"--lca {n} is an area under accuracies, but the targets of {data.name} are numbers; leave it out."
        )
    if data.is_multi_label:
        raise InvalidOptionError(
            f"--lca {n} is an area under accuracies, but the samples of {data.name} have several labels; leave it out."
        )
    if min(batches) <= n:
        raise InvalidOptionError(
            f"--lca {n} needs more than {n} mini-batches in each phase, but phase {batches.index(min(batches))} has "
            f"{min(batches)}; lower it, or --batch_size."
        )


def learning_curve_area(curves: Sequence[Sequence[float | None]]) -> float | None:
    """Return the area under the learning curves: `LCA_n = 1/(n+1) sum_{b<=n} Z_b`, where `Z_b` is the mean over tasks.

    From Chaudhry et al., "Efficient Lifelong Learning with A-GEM" (ICLR 2019), definition 3.

    Args:
        curves: `Z_b` of each task (T, n + 1): its test accuracy after b mini-batches; None where a method cannot
            predict yet.

    Returns:
        A value in [0, 1], higher is better; None if a value is missing.
    """
    values = [value for curve in curves for value in curve]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None

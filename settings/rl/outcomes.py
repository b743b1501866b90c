"""The outcomes of test episodes, and their summary in results: returns, spread, successes, and curves inside phases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redwood.core.schema import Json, ListOf, Number, Record
from redwood.core.workers import gather_objects

Row: TypeAlias = list[float | None]  # one value for each task (T,), None if it was not tested


class Outcome(NamedTuple):
    """The outcome of an episode.

    Attributes:
        value: Its return.
        success: Whether the episode was a success; None if the environment does not report it.
    """

    value: float
    success: bool | None


Outcomes: TypeAlias = list[list[Outcome]]  # of the episodes of each task (T, E); empty for a task that was not tested


def gather_outcomes(own: Outcomes) -> Outcomes:
    """Join the outcomes of all workers, in the order of the episodes; every worker has to call it."""
    workers = gather_objects(own)
    return [[outcome for outcomes in workers for outcome in outcomes[task]] for task in range(len(own))]


class Summary(NamedTuple):
    """The episodes of each task in numbers.

    Attributes:
        mean: Mean return (T,).
        std: Sample standard deviation (n - 1 in the denominator) of the returns (T,); 0.0 for one episode.
        success: Share of episodes that were successes (T,); None where the environment does not report them.
    """

    mean: Row
    std: Row
    success: Row


def summarise(outcomes: Outcomes) -> Summary:
    """Return mean and spread of the returns of each task, and its share of successes."""
    return Summary(*map(list, zip(*map(_of_task, outcomes), strict=True)))


def _of_task(outcomes: Sequence[Outcome]) -> tuple[float | None, float | None, float | None]:
    if not outcomes:
        return None, None, None
    values = np.array([outcome.value for outcome in outcomes])
    known = [outcome.success for outcome in outcomes if outcome.success is not None]
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return float(values.sum() / len(values)), spread, sum(known) / len(known) if known else None


@dataclass(kw_only=True)
class Evaluations:
    """The data on episodes that results keep, under the key `evaluations` of `results.json`.

    Attributes:
        returns: Return of each test episode of each task after each phase (P, T, E). None for a task that was not
            tested, or whose episodes are samples (`--env supervised:DATASET`).
        successes: Whether it was a success, as 1 or 0, likewise; None also where the environment does not report it.
        return_std: Sample standard deviation of the returns (P, T).
        success: Share of episodes that were successes (P, T).
        steps: Environment steps of all workers (K,) after which the points of the curve were measured (`--eval_every`).
            Point 0 is the untrained agent, unless the run was given none. Empty without a curve.
        curve_return: Mean return on each task at each point (K, T).
        curve_std: Sample standard deviation of the returns at each point (K, T).
        curve_success: Share of successes on each task at each point (K, T).
    """

    returns: list[list[list[float] | None]] = field(default_factory=list)
    successes: list[list[list[int] | None]] = field(default_factory=list)
    return_std: list[Row] = field(default_factory=list)
    success: list[Row] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    curve_return: list[Row] = field(default_factory=list)
    curve_std: list[Row] = field(default_factory=list)
    curve_success: list[Row] = field(default_factory=list)

    @property
    def reports_success(self) -> bool:
        """True if every task that was tested after the last phase reports successes."""
        return bool(self.success) and any(value is not None for value in self.success[-1]) and _fits(self)

    def add_phase(self, outcomes: Outcomes, *, kept: Sequence[bool]) -> None:
        """Add the episodes that were played after a phase.

        Args:
            outcomes: The episodes of each task.
            kept: For each task, whether to keep each of its episodes.
        """
        summary = summarise(outcomes)
        shown = [task if keep else [] for task, keep in zip(outcomes, kept, strict=True)]
        self.returns.append([[outcome.value for outcome in task] if task else None for task in shown])
        self.successes.append([_successes(task) if task else None for task in shown])
        self.return_std.append(summary.std)
        self.success.append(summary.success)

    def add_point(self, step: int, summary: Summary) -> None:
        """Add a point to the curve."""
        self.steps.append(step)
        for rows, row in zip((self.curve_return, self.curve_std, self.curve_success), summary, strict=True):
            rows.append(row)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return one of the tables, NaN where nothing was measured: `success` (P, T), or `curve_...` (K, T)."""
        table: NDArray[np.float64] = np.array(getattr(self, name), dtype=np.float64)
        return table

    def average(self, name: str) -> NDArray[np.float64]:
        """Return the mean over the tasks of one of the tables (P,) or (K,); NaN where nothing was measured."""
        mean: NDArray[np.float64] = np.ma.masked_invalid(self.values(name)).mean(axis=1).filled(np.nan)
        return mean

    def extend(self, later: "Evaluations") -> None:
        """Append the measurements of later phases."""
        for name, rows in vars(later).items():
            getattr(self, name).extend(rows)

    def to_dict(self) -> Json:
        """Return the fields as plain values."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: Json) -> Self:
        """Restore the result of `to_dict`; further entries are left out."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


def _fits(evaluations: Evaluations) -> bool:
    last, std = evaluations.success[-1], evaluations.return_std[-1]
    return all((share is None) == (spread is None) for share, spread in zip(last, std, strict=True))


def _successes(task: Sequence[Outcome]) -> list[int] | None:
    known = [int(outcome.success) for outcome in task if outcome.success is not None]
    return known if len(known) == len(task) else None


_ROWS = ListOf(ListOf(Number(optional=True), least=1))
_EPISODES = ListOf(ListOf(ListOf(Number(), optional=True), least=1))
# The entry of `results.json`; the last three follow from the others, and are written for readers.
EVALUATIONS = Record(
    {
        "returns": _EPISODES,
        "successes": _EPISODES,
        "return_std": _ROWS,
        "success": _ROWS,
        "steps": ListOf(Number(low=0, whole=True)),
        "curve_return": _ROWS,
        "curve_std": _ROWS,
        "curve_success": _ROWS,
        "forgetting_by_phase": ListOf(Number(optional=True)),
        "isolated_forgetting": _ROWS,
        "isolated_forgetting_by_cycle": ListOf(Number(optional=True)),
        "zero_shot_transfer": _ROWS,
    },
    optional=frozenset(
        {"forgetting_by_phase", "isolated_forgetting", "isolated_forgetting_by_cycle", "zero_shot_transfer"}
    ),
)

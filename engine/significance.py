"""The significance of differences between methods: intervals, paired tests, and the best methods.

A unit is what the runs repeat: a seed, or a class order where there are several of these. The scores of a unit are
averaged over its runs. Methods are compared on the units that both have.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import ModuleType
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from redwood.engine.pair_results import PairResults, RunKey, run_key
from redwood.settings.scores.measure import Measure
from redwood.settings.scores.results import Results

_CHANGES = {"forgetting", "backward_transfer", "forward_transfer"}  # differences of two scores
LEVEL = 0.05  # of all tests under one setting together; an interval covers the mean with a probability of 1 - LEVEL
# From so many values on, an interval is a bootstrap's. Below, only Student's covers what it should: docs/statistics.md.
BOOTSTRAP_FROM = 10
_RESAMPLES = 9999
_BATCH = 10**6  # numbers at a time
_EXACT_TO = 14  # units, of which all 2^n exchanges are tried

Interval: TypeAlias = tuple[float, float]
Mark: TypeAlias = Literal["best", "not distinguishable from best", "worse than best", ""]
BEST: Mark = "best"
SIMILAR: Mark = "not distinguishable from best"
WORSE: Mark = "worse than best"
UNKNOWN: Mark = ""


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Interval | None:
    """The interval that covers the mean of the distribution of some values with a probability of 1 - `level`.

    From `BOOTSTRAP_FROM` values on, it is the studentized bootstrap's (Efron & Tibshirani, "An introduction to the
    bootstrap", 1993, section 12.5), else Student's. `benchmarks/statistics.py` measures how often each one covers.

    Args:
        values: Independent values (n,).
        level: Probability of missing the mean.

    Returns:
        The lower and the upper end; None for fewer than two values.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n < 2:
        return None
    mean, error = float(sample.mean()), float(sample.std(ddof=1)) / math.sqrt(n)
    if error <= 1e-12 * abs(mean):
        return mean, mean
    low, high = _stats().t.ppf([level / 2, 1 - level / 2], n - 1)
    if n >= BOOTSTRAP_FROM:
        low, high = np.quantile(_studentized(sample), [level / 2, 1 - level / 2])
    return mean - float(high) * error, mean - float(low) * error


def _stats() -> ModuleType:
    """`scipy.stats`, which takes half a second to import."""
    from scipy import stats

    module: ModuleType = stats
    return module


def _studentized(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """The t statistics (`_RESAMPLES`,) of samples that are drawn from the values of one."""
    n = len(sample)
    drawn = sample[np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))]
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(n)
    varied = errors > 0  # all but the samples that hold one value n times
    return np.asarray((drawn.mean(axis=1)[varied] - sample.mean()) / errors[varied])


def paired_p(differences: ArrayLike) -> NDArray[np.float64]:
    """The two-sided p-values of paired differences, whose signs are exchanged: no difference has an expected sign.

    All 2^n exchanges are tried for up to 14 units, else 9,999 random ones (`scipy.stats.permutation_test`).

    Args:
        differences: Score of one method minus that of another in each unit (..., n) of several tests; n >= 2.

    Returns:
        The p-value of each test (...), at least `least_p(n)`.
    """
    values = np.asarray(differences, dtype=np.float64)
    n = values.shape[-1]
    test = _stats().permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=2**n if n <= _EXACT_TO else _RESAMPLES,
        batch=max(1, _BATCH // values.size),
        rng=np.random.default_rng(0),
    )
    return np.asarray(np.minimum(test.pvalue, 1.0))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests so that all of them together err with the level that one would have.

    From Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 6, 1979).

    Returns:
        The corrected p-values, in the same order.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def least_p(n: int) -> float:
    """The least p-value that `paired_p` can have with n units."""
    return 2.0 / 2**n if n <= _EXACT_TO else 2.0 / (_RESAMPLES + 1)


def units_needed(tests: int, level: float = LEVEL) -> int | None:
    """The least number of units with which one of so many tests can have a corrected p-value of `level`, if any."""
    return next((n for n in range(2, _EXACT_TO + 2) if tests * least_p(n) <= level), None)


@dataclass(frozen=True)
class Difference:
    """The difference of two methods under one setting: objective of the first minus objective of the second.

    Attributes:
        first: A method.
        second: Another one.
        n: Units that both have.
        mean: Mean difference over these; NaN without any.
        interval: The interval of the mean; None for fewer than two units.
        p: p-value of `paired_p`; None for fewer than two units.
        p_holm: The p-value after Holm's correction for all pairs of methods under the setting. Those with the best
            method would be too few: it is chosen by the same scores.
    """

    first: str
    second: str
    n: int
    mean: float
    interval: Interval | None
    p: float | None
    p_holm: float | None


@dataclass(frozen=True)
class Significance:
    """The significance of the differences under one setting.

    Attributes:
        setting: Key of the setting.
        unit: The unit of repetition: "seed" or "class order".
        units: The largest number of units of a method.
        best: The methods with the best mean objective; several only if their means are equal.
        marks: `BEST`, `SIMILAR`, `WORSE` or, where there are too few units to tell, `UNKNOWN`, for each method with
            results.
        intervals: The interval of the mean objective of each method, cut off where the measure ends: no accuracy is
            above 100 %.
        differences: Each pair of methods.
    """

    setting: str
    unit: str
    units: int
    best: frozenset[str]
    marks: Mapping[str, Mark]
    intervals: Mapping[str, Interval | None]
    differences: Sequence[Difference]

    @property
    def note(self) -> str:
        """A sentence if the units are too few for a test, with the number needed; empty if they suffice."""
        tests = len(self.differences)
        if not tests or tests * least_p(self.units) <= LEVEL:
            return ""
        needed = units_needed(tests)
        remedy = f"use at least {needed}" if needed is not None else "compare fewer methods"
        few = f"{self.units} {self.unit}{'s' if self.units > 1 else ''}"
        if self.units < 2:
            return f"{few} cannot tell methods apart; {remedy}"
        if tests == 1:
            return f"{few} can show nothing below p = {least_p(self.units):.2g}; {remedy}"
        return (
            f"{few} can show nothing below p = {least_p(self.units):.2g}, and {tests} pairs of methods need "
            f"p = {LEVEL / tests:.2g} (Holm); {remedy}"
        )

    def p_to_best(self, method: str) -> float | None:
        """The least corrected p-value of a method's differences to the best ones; None if there is none."""
        return _p_to_best(method, self.best, self.differences)

    def difference(self, first: str, second: str) -> Difference:
        """Return the entry of two methods, in either order; its signs follow the order in which it was made."""
        return next(found for found in self.differences if {found.first, found.second} == {first, second})


def significance_of(rows: Iterable[PairResults], metric: str = "") -> dict[str, Significance]:
    """Compare the methods under each setting of which there are results; upper bounds are compared with none.

    Args:
        rows: The pairs, such as a `redwood.Comparison`.
        metric: The name of the metric to compare; pairs with a run that lacks it are left out (default: the objective).
    """
    found: dict[str, list[PairResults]] = {}
    for row in rows:
        if row.results and all(not metric or run.metrics.get(metric) is not None for run in row.results):
            found.setdefault(row.setting, []).append(row)
    return {setting: _under(setting, group, metric) for setting, group in found.items()}


def _under(setting: str, rows: Sequence[PairResults], metric: str) -> Significance:
    def score(run: Results) -> float:
        value = run.metrics[metric] if metric else run.objective
        assert value is not None
        return value

    scores = {row.method: {run_key(run): score(run) for run in row.results} for row in rows}
    compared = [row for row in rows if row.ran_under is None]
    orders = {order for keys in scores.values() for _, order in keys}
    part = 1 if len(orders) > 1 else 0
    measure = rows[0].results[0].measure
    limits = _limits_of(metric, measure)
    intervals = {method: _interval_of(found, part, limits) for method, found in scores.items()}
    differences = _compare({row.method: scores[row.method] for row in compared}, part)
    means = {row.method: sum(map(score, row.results)) / len(row.results) for row in compared}
    run = rows[0].results[0]
    prefers_low = run.prefers_low(metric) if metric else run.lower_is_better
    top = (min if prefers_low else max)(means.values(), default=None)
    best = frozenset(method for method, mean in means.items() if mean == top)
    return Significance(
        setting,
        unit=("seed", "class order")[part],
        units=max(len(_by_unit(found, part)) for found in scores.values()),
        best=best,
        marks={method: _mark(method, best, differences) if method in means else UNKNOWN for method in scores},
        intervals=intervals,
        differences=differences,
    )


def _limits_of(metric: str, measure: Measure) -> Interval:
    """The least and the largest value of a metric; an empty name is the objective."""
    low, high = measure.limits
    if not metric or metric.endswith(f"_{measure.key}"):
        return low, high
    return (low - high, high - low) if metric in _CHANGES else (-math.inf, math.inf)


def _interval_of(scores: Mapping[RunKey, float], part: int, limits: Interval) -> Interval | None:
    """The interval of the mean over the units, within the limits of the measure."""
    interval = mean_interval(list(_by_unit(scores, part).values()))
    return None if interval is None else (max(interval[0], limits[0]), min(interval[1], limits[1]))


def _by_unit(scores: Mapping[RunKey, float], part: int) -> dict[int | None, float]:
    """The mean score of each unit: part 0 of a key is the seed, part 1 the class order."""
    groups: dict[int | None, list[float]] = defaultdict(list)
    for key, score in sorted(scores.items(), key=lambda entry: (entry[0][0], entry[0][1] or 0)):
        groups[key[part]].append(score)
    return {unit: float(np.mean(group)) for unit, group in groups.items()}


def _compare(scores: Mapping[str, Mapping[RunKey, float]], part: int) -> list[Difference]:
    """Test each pair of methods on the units that both have; a pair with fewer than two cannot be tested."""
    values = {}
    for first, second in combinations(scores, 2):
        common = {key: scores[first][key] - scores[second][key] for key in scores[first] if key in scores[second]}
        values[first, second] = list(_by_unit(common, part).values())
    p_values = {pair: 1.0 for pair in values}  # a pair that cannot be tested counts as one without any difference
    for n in {len(found) for found in values.values()} - {0, 1}:
        tested = [pair for pair, found in values.items() if len(found) == n]
        p_values.update(zip(tested, paired_p([values[pair] for pair in tested]).tolist(), strict=True))
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        Difference(
            *pair,
            n=len(found),
            mean=float(np.mean(found)) if found else math.nan,
            interval=mean_interval(found),
            p=p_values[pair] if len(found) > 1 else None,
            p_holm=corrected[pair] if len(found) > 1 else None,
        )
        for pair, found in values.items()
    ]


def _p_to_best(method: str, best: frozenset[str], differences: Sequence[Difference]) -> float | None:
    against = [d.p_holm for d in differences if {d.first, d.second} - best == {method}]
    return min((p for p in against if p is not None), default=None)


def _mark(method: str, best: frozenset[str], differences: Sequence[Difference]) -> Mark:
    if method in best:
        return BEST
    p_value = _p_to_best(method, best, differences)
    if p_value is None:
        return UNKNOWN
    if p_value <= LEVEL:
        return WORSE
    # Where no outcome would have told the methods apart, "not distinguishable" would say too much.
    most = max(d.n for d in differences if {d.first, d.second} - best == {method})
    return SIMILAR if len(differences) * least_p(most) <= LEVEL else UNKNOWN

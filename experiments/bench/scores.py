"""Scores from the events of a suite's runs: statistics and failures of each bench, and scores of the suite."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from redwood.core.schema import Json
from redwood.experiments.bench.events import Event
from redwood.experiments.bench.suite import Bench
from redwood.settings.lookup import get_setting

TRIMMED_FROM = 5  # values, of which the least and the greatest one are dropped


@dataclass(frozen=True)
class Statistic:
    """Mean, standard deviation (n - 1) and standard error of the mean of `n` values; 0 for a single value."""

    mean: float
    deviation: float
    error: float
    n: int


def statistic_of(values: Sequence[float], *, trimmed: bool = False) -> Statistic | None:
    """The statistic of some values; None if there are none.

    Args:
        values: The values.
        trimmed: Whether the least and the greatest are dropped if there are at least five, as Milabench does.

    Example:
        >>> statistic_of([1, 2, 3, 4, 100], trimmed=True).mean
        3.0
    """
    kept = sorted(values)
    if trimmed and len(kept) >= TRIMMED_FROM:
        kept = kept[1:-1]
    if not kept:
        return None
    deviation = stdev(kept) if len(kept) > 1 else 0.0
    return Statistic(fmean(kept), deviation, deviation / math.sqrt(len(kept)), len(kept))


@dataclass(frozen=True)
class BenchScore:
    """The score of one bench, computed from its runs.

    Attributes:
        bench: The bench.
        failed: Runs that failed, produced NaN, or did not run or end.
        problems: Why the bench does not pass, in short sentences; empty if it does.
        metrics: The statistic of each metric and cost over the runs that succeeded.
        objective: The statistic of the objective, which ranks runs.
        rate: The statistic of the training rates, trimmed.
        share: Whether the objective counts in the quality: it lies in [0, 1], and more is better.
    """

    bench: Bench
    failed: int
    problems: tuple[str, ...]
    metrics: Mapping[str, Statistic] = field(default_factory=dict)
    objective: Statistic | None = None
    rate: Statistic | None = None
    share: bool = True

    @property
    def passed(self) -> bool:
        """True if all runs succeeded within the expectations."""
        return not self.problems


def score_bench(bench: Bench, events: Mapping[str, Sequence[Event]]) -> BenchScore:
    """Judge the runs of a bench.

    Args:
        bench: The bench.
        events: The events of each of its runs, by `Bench.runs`; those of a run that is missing may be missing or empty.
    """
    problems, succeeded = [], []
    for run in bench.runs:
        found = events.get(run, ())
        problem = problem_of(found)
        if problem is None:
            succeeded.append(_data(found))
        else:
            problems.append(f"{run} {problem}")
    values: dict[str, list[float]] = {}
    for data in succeeded:
        for name, value in data["numbers"].items():
            values.setdefault(name, []).append(value)
    # A metric that only some runs have has no mean over the seeds.
    complete = {name: found for name, found in values.items() if len(found) == len(succeeded)}
    metrics = {name: statistic for name, found in complete.items() if (statistic := statistic_of(found)) is not None}
    failed = len(problems)
    if succeeded:
        problems += _unexpected(bench, metrics)
    rates = [rate for data in succeeded for rate in data["rates"]]
    return BenchScore(
        bench,
        failed,
        tuple(problems),
        metrics,
        objective=metrics.get("objective"),
        rate=statistic_of(rates, trimmed=True),
        share=all(data["share"] for data in succeeded) if succeeded else not _has_rewards(bench),
    )


def _has_rewards(bench: Bench) -> bool:
    """True if a bench has returns, as far as that is known without code of its own."""
    return ":" not in bench.setting and get_setting(bench.setting).assumptions.rewards


def problem_of(events: Sequence[Event]) -> str | None:
    """Why a run does not count, as the end of a sentence; None if it succeeded."""
    if not events:
        return "did not run"
    ends = [event for event in events if event["event"] == "end"]
    if not ends:
        return "did not end"
    if ends[-1].get("rc") != 0:
        return f"failed: {ends[-1].get('reason', 'no reason is known')}"
    data = [event for event in events if event["event"] == "data"]
    for event in data:
        bad = next((name for name, value in event.items() if not _finite(value)), None)
        if bad is not None:
            return f"produced {bad} that is no finite number"
    if not any("rate" in event for event in data):
        return "has no rate"
    return None if any("objective" in event for event in data) else "has no result"


def _finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _data(events: Iterable[Event]) -> Json:
    """The numbers, the rates and the kind of the objective of one run."""
    numbers: dict[str, float] = {}
    rates, share = [], True
    for event in events:
        if event["event"] != "data":
            continue
        if "rate" in event:
            rates.append(float(event["rate"]))
        if "objective" in event:
            numbers["objective"], share = float(event["objective"]), bool(event.get("share", True))
        for part in ("metrics", "cost"):
            numbers |= {name: float(value) for name, value in event.get(part, {}).items() if value is not None}
    return {"numbers": numbers, "rates": rates, "share": share}


def _unexpected(bench: Bench, metrics: Mapping[str, Statistic]) -> Iterable[str]:
    for name, (low, high) in bench.expect.items():
        if name not in metrics:
            yield f"{bench.name} has no {name}, of which something is expected"
            continue
        mean = metrics[name].mean
        if (low is not None and mean < low) or (high is not None and mean > high):
            yield f"{bench.name} has {name} {mean:.4g}, expected in {_shown(low, high)}"


def _shown(low: float | None, high: float | None) -> str:
    return f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"


def quality(scores: Sequence[BenchScore]) -> float | None:
    """The weighted mean of the objectives that are shares; a run that failed counts as 0. None if there are none."""
    counted = [score for score in scores if score.share]
    weight = sum(score.bench.weight for score in counted)
    if not weight:
        return None
    total = sum(
        score.bench.weight * score.objective.mean * (1 - score.failed / score.bench.seeds)
        for score in counted
        if score.objective is not None
    )
    return total / weight


def rate_ratios(scores: Sequence[BenchScore], baseline: Sequence[BenchScore]) -> dict[str, float]:
    """Return the rate of each bench divided by that of the baseline: 0 without a rate here, left out without one there.

    A rate is multiplied by the share of successful runs, as in Milabench: a failed run makes nothing faster.
    """
    then = {score.bench.name: _useful_rate(score) for score in baseline}
    return {
        score.bench.name: _useful_rate(score) / then[score.bench.name]
        for score in scores
        if then.get(score.bench.name, 0.0) > 0
    }


def _useful_rate(score: BenchScore) -> float:
    """The mean rate of a bench times the share of its runs that succeeded; 0 if none has."""
    return 0.0 if score.rate is None else score.rate.mean * (1 - score.failed / score.bench.seeds)


def speed(scores: Sequence[BenchScore], baseline: Sequence[BenchScore]) -> float | None:
    """The weighted geometric mean of `rate_ratios`; None if there are none. It is 0 if a bench has no rate."""
    ratios = rate_ratios(scores, baseline)
    weights = {score.bench.name: score.bench.weight for score in scores if score.bench.name in ratios}
    if not sum(weights.values()):
        return None
    if any(ratios[name] == 0 and weight > 0 for name, weight in weights.items()):
        return 0.0
    total = sum(weight * math.log(ratios[name]) for name, weight in weights.items() if weight)
    return math.exp(total / sum(weights.values()))

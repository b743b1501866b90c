"""The results of a pair's runs; comparisons print and draw them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, TypeAlias

from typing_extensions import override

from redwood.engine.names import short_names
from redwood.settings.scores.metrics import transfer_to_last
from redwood.settings.scores.pareto import dominated_by, hypervolume_of_methods, loss_of
from redwood.settings.scores.results import Results, mean_and_std
from redwood.settings.scores.shown import Shown

INDEPENDENT = "independent"  # the method that learns each task from nothing, which transfer to the last task refers to

# Marks a pair of which some seeds failed, and what the mark means.
PARTLY, SOME_FAILED = "*", "mean of the seeds that did not fail"

RunKey: TypeAlias = tuple[int, int | None]


@dataclass(frozen=True, repr=False)
class PairResults(Shown):
    """The runs of one pair of a comparison.

    Attributes:
        setting: Key of the setting.
        method: Key of the method.
        results: Finished runs, one per seed, or per seed and class order.
        failure: Why a run failed, in one sentence; None if none did.
        ran_under: Of an upper bound: the child of the setting that it ran under. It is compared with no other method.
        missing: Runs that were planned and have not ended yet.
    """

    setting: str
    method: str
    results: Sequence[Results] = field(default_factory=list)
    failure: str | None = None
    ran_under: str | None = None
    missing: int = 0

    def __repr__(self) -> str:
        known = [run for run in self.results if run.tested]
        mean = f", {known[0].score_in_words(replace(self, results=known).objective)}" if known else ""
        failed = f"; failed: {self.failure}" if self.failure else ""
        runs = f"{len(self.results)} run{'s' * (len(self.results) != 1)}"
        return f"<{self.label}: {runs}{mean}{failed}>"

    def __len__(self) -> int:
        """Number of finished runs."""
        return len(self.results)

    def __bool__(self) -> bool:
        """True, also if no run has finished."""
        return True

    def __iter__(self) -> Iterator[Results]:
        """The finished runs."""
        return iter(self.results)

    def __getitem__(self, number: int) -> Results:
        """A finished run by its place."""
        return self.results[number]

    @override
    def _shown(self) -> list[Self]:
        return [self]

    @property
    def label(self) -> str:
        """The pair's name, as in `class_incremental / rehearsal`."""
        return f"{self.setting} / {self.method}"

    @property
    def objective(self) -> float:
        """The mean objective of the runs; there has to be one."""
        return sum(run.objective for run in self.results) / len(self.results)

    @property
    def metrics(self) -> dict[str, float | None]:
        """The mean of each metric over the runs, by the names of `Results.metrics`; None if a run lacks the metric."""
        means = mean_and_std(self.results) if self.results else {}
        return {name: value and value[0] for name, value in means.items()}

    @property
    def tuning(self) -> dict[str, float] | None:
        """The cost of choosing the options of the runs; None if no sweep has chosen them."""
        return self.results[0].cost.tuning if self.results else None

    @property
    def total_flops(self) -> float:
        """The mean of the FLOPs of the runs, for all uses; there has to be one."""
        return sum(run.cost.total_flops for run in self.results) / len(self.results)

    @property
    def flops_with_tuning(self) -> float:
        """The mean FLOPs of the runs, plus the FLOPs of the trials that chose their options; there has to be a run.

        All runs of a pair share the trials, so these count once.
        """
        return sum(run.cost.flops_with_tuning for run in self.results) / len(self.results)


def run_key(run: Results) -> RunKey:
    """The seed of a run, and that of its class order if it has one: runs of two methods with equal keys are a pair."""
    order = run.options.get("class_order_seed")
    return run.seed, order if isinstance(order, int) else None


def repeats_of(runs: Iterable[Results]) -> str:
    """Return the number of repeats in words, as in `5 seeds` or `3 class orders with 5 seeds each`."""
    keys = [run_key(run) for run in runs]
    seeds, orders = {seed for seed, _ in keys}, {order for _, order in keys if order is not None}
    if not orders:
        return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
    each = max(len({seed for seed, own in keys if own == order}) for order in orders)
    counted = f"{len(orders)} class order{'s' * (len(orders) > 1)}"
    return f"{counted} with {each} seeds each" if each > 1 else counted


@dataclass(frozen=True)
class Efficiency:
    """The means of several methods under one setting, as a trade-off of error and compute.

    Attributes:
        front: The methods on the Pareto front: no other one is as good in error and FLOPs, and better in one of them.
            The FLOPs of the trials that chose a method's options count (Bornschein et al., "NEVIS'22", JMLR 2023).
        hypervolume: What the front dominates, by `hypervolume_of_methods`; None if nothing was computed.
    """

    front: frozenset[str]
    hypervolume: float | None


def efficiency_of(pairs: Sequence[PairResults]) -> dict[str, Efficiency]:
    """The trade-off under each setting of which there are results."""
    found: dict[str, Efficiency] = {}
    for setting in dict.fromkeys(pair.setting for pair in pairs if pair.results):
        group = [pair for pair in pairs if pair.setting == setting and pair.results and pair.ran_under is None]
        if not group:
            found[setting] = Efficiency(frozenset(), None)
            continue
        measure = group[0].results[0].measure
        costs = [pair.flops_with_tuning for pair in group]
        losses = [loss_of(pair.objective, measure) for pair in group]
        beaten = dominated_by(list(zip(costs, losses, strict=True)))
        front = frozenset(pair.method for pair, others in zip(group, beaten, strict=True) if not others)
        found[setting] = Efficiency(front, hypervolume_of_methods(costs, losses, measure))
    return found


def marked_bounds(pairs: Iterable[PairResults]) -> list[PairResults]:
    """The pairs, where the names of upper bounds say that they are some."""
    return [pair if pair.ran_under is None else replace(pair, method=f"{pair.method} (bound)") for pair in pairs]


def bound_notes(pairs: Iterable[PairResults]) -> list[str]:
    """A sentence on the settings that upper bounds ran under, if there are any."""
    settings = dict.fromkeys(pair.ran_under for pair in pairs if pair.ran_under is not None)
    ran_under = " or ".join(setting for setting in settings if setting is not None)
    return [f"bound: an upper bound, which ran under {ran_under} and is compared with no method"] * bool(settings)


def transfers_to_last(pair: PairResults, pairs: Iterable[PairResults]) -> list[float]:
    """Return the gain on the last task of each run over the run of `independent` with the same setting and key.

    Args:
        pair: The pair.
        pairs: All pairs of the comparison.

    Returns:
        `transfer_to_last` of each key that both have; for errors, its sign is changed. Empty if it is not defined.
    """
    references = {
        run_key(run): run
        for other in pairs
        if (other.setting, other.method) == (pair.setting, INDEPENDENT)
        for run in other.results
    }
    gains = [
        transfer_to_last(run.learned, references[run_key(run)].learned, run.order)
        for run in pair.results
        if run_key(run) in references
    ]
    sign = -1.0 if pair.results and pair.results[0].lower_is_better else 1.0
    return [sign * gain for gain in gains if gain is not None]


def by_measure(pairs: Iterable[PairResults]) -> dict[str, list[PairResults]]:
    """The pairs of each measure, since accuracies and returns have no place in one table."""
    pairs = list(pairs)
    measures = {pair.setting: pair.results[0].measure.key for pair in pairs if pair.results}
    usual = next(iter(measures.values()), "")
    groups: dict[str, list[PairResults]] = {}
    for pair in pairs:
        groups.setdefault(measures.get(pair.setting, usual), []).append(pair)
    return groups


def with_short_names(pairs: Iterable[PairResults]) -> list[PairResults]:
    """The pairs under the short names of their settings and methods, for tables and pictures."""
    pairs = list(pairs)
    settings = short_names(pair.setting for pair in pairs)
    methods = short_names(pair.method for pair in pairs)
    return [replace(pair, setting=settings[pair.setting], method=methods[pair.method]) for pair in pairs]


def methods_in_order(pairs: Iterable[PairResults]) -> list[str]:
    """The methods of some pairs, in the order of each setting's: not all methods need to apply to the first one."""
    ordered: list[str] = []
    before: dict[str, str] = {}
    for pair in pairs:
        if pair.method not in ordered:
            ordered.insert(ordered.index(before[pair.setting]) + 1 if pair.setting in before else 0, pair.method)
        before[pair.setting] = pair.method
    return ordered

"""What the runs of a pair have measured; comparisons print and draw it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from redwood.settings.results import Results

# Marks a pair of which some seeds failed, and what the mark means.
PARTLY, SOME_FAILED = "*", "mean of the seeds that did not fail"


@dataclass(frozen=True)
class PairResults:
    """The runs of one pair of a comparison.

    Attributes:
        setting: Key of the setting.
        method: Key of the method.
        results: Finished runs, one per seed.
        failure: Why a run failed, in one sentence; None if none did.
    """

    setting: str
    method: str
    results: Sequence[Results] = field(default_factory=list)
    failure: str | None = None

    @property
    def label(self) -> str:
        """The pair's name, as in `class_incremental / rehearsal`."""
        return f"{self.setting} / {self.method}"


def methods_in_order(pairs: Iterable[PairResults]) -> list[str]:
    """The methods of some pairs, in the order of each setting's: not all methods need to apply to the first one."""
    ordered: list[str] = []
    before: dict[str, str] = {}
    for pair in pairs:
        if pair.method not in ordered:
            ordered.insert(ordered.index(before[pair.setting]) + 1 if pair.setting in before else 0, pair.method)
        before[pair.setting] = pair.method
    return ordered

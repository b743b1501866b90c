"""The outcome of a comparison: the results of its pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from redwood.engine.pair_results import PairResults
from redwood.settings.scores.results import Results
from redwood.settings.scores.shown import Shown


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What `redwood.compare` returns.

    Attributes:
        pairs: The results of each pair of a setting and a method.
        folder: Where they were written; None if nothing was.
    """

    pairs: Sequence[PairResults]
    folder: Path | None = None

    @property
    def complete(self) -> bool:
        """True if no run has failed."""
        return all(pair.failure is None for pair in self.pairs)

    @property
    def results(self) -> list[Results]:
        """The results of all runs."""
        return [run for pair in self.pairs for run in pair.results]

    def __repr__(self) -> str:
        settings, methods = ({getattr(pair, name) for pair in self.pairs} for name in ("setting", "method"))
        counts = (len(settings), "setting"), (len(methods), "method"), (len(self.results), "run")
        told = ", ".join(f"{number} {what}{'s' * (number != 1)}" for number, what in counts)
        failed = sum(pair.failure is not None for pair in self.pairs)
        return f"<Comparison of {told}{f'; {failed} pairs failed' if failed else ''}>"

    @override
    def _shown(self) -> Sequence[PairResults]:
        return self.pairs

"""The outcome of a comparison: the results of its pairs."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from typing_extensions import override

from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.engine.pair_results import PairResults, run_key, with_short_names
from redwood.experiments.command_line.own_names import own_name
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.plan import is_comparison
from redwood.settings.scores.results import Results
from redwood.settings.scores.shown import Shown


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What `redwood.compare` returns, and what `load` reads from the folder of a comparison.

        comparison["rehearsal"].metrics                   # a pair by its method, or by a word for it, such as "er"
        comparison["task_incremental", "ewc"].metrics     # of several settings
        [pair.objective for pair in comparison]           # all pairs that apply
        significance_of(comparison)                       # tests, of redwood.engine.significance

    Attributes:
        pairs: The results of each pair of a setting and a method.
        folder: Where they were written; None if nothing was.
    """

    pairs: Sequence[PairResults]
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read the finished runs of a comparison in a folder.

        Raises:
            RedwoodError: If no comparison was started in the folder, or its plan or its table cannot be read.
        """
        path = Path(folder)
        if not is_comparison(path):
            raise RedwoodError(f"There is no comparison in {path}; redwood.load reads a run, and Results.load a file.")
        source = source_of_comparison(path)
        pairs = []
        for setting, method in source.pairs:
            ran_under = source.bounds.get((setting, method))
            named = (ran_under or setting, method)  # in results
            runs = [one.results for one in source.runs if (one.results.setting, one.results.method) == named]
            runs.sort(key=lambda run: (run_key(run)[1] or 0, run.seed))
            failure, missing = source.failures.get((setting, method)), source.missing.get((setting, method), 0)
            pairs.append(PairResults(setting, method, runs, failure, ran_under, missing))
        return cls(pairs, path)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def __iter__(self) -> Iterator[PairResults]:
        """The pairs, in the order of the settings and methods."""
        return iter(self.pairs)

    def __contains__(self, name: object) -> bool:
        """Whether there is a pair, or one of such a method or of such a setting and method; see `[]`."""
        return any(pair is name for pair in self.pairs) or bool(self._pairs_of(name))

    def _pairs_of(self, name: object) -> list[PairResults]:
        setting, method = name if isinstance(name, tuple) and len(name) == 2 else (None, name)
        if isinstance(method, str):
            method = own_name("method", method, [pair.method for pair in self.pairs])
        return [
            pair
            for pair, shown in zip(self.pairs, with_short_names(self.pairs), strict=True)
            if setting in (None, pair.setting, shown.setting) and method in (pair.method, shown.method)
        ]

    def __getitem__(self, name: str | tuple[str, str]) -> PairResults:
        """The pair of a method, or of a setting and a method where there are several settings.

        Raises:
            UnknownNameError: If there is no such pair.
            InvalidOptionError: If several settings have the method, and none is named.
        """
        setting, method = name if isinstance(name, tuple) else (None, name)
        found = self._pairs_of(name)
        if not found:
            known = {shown.method if setting is None else shown.label for shown in with_short_names(self.pairs)}
            raise UnknownNameError("pair", method if setting is None else f"{setting} / {method}", known)
        if len(found) > 1:
            first = found[0].setting
            raise InvalidOptionError(f'{method} ran under several settings; name one, as in ["{first}", "{method}"].')
        return found[0]

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
        failures = f"; {failed} pair{'s' * (failed != 1)} failed" if failed else ""
        return f"<Comparison of {told}{failures}>"

    @override
    def _shown(self) -> Sequence[PairResults]:
        return self.pairs

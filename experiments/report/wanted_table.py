"""The table that `--table` asks for: its format and its metrics, checked before runs start, and its file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redwood.core.errors import InvalidOptionError, RedwoodError, nearest
from redwood.core.files import write_atomically
from redwood.engine.pair_results import PairResults, by_measure
from redwood.experiments.command_line.options import Options
from redwood.experiments.report.paper_tables import TABLES
from redwood.settings.scores.results import Results


@dataclass(frozen=True)
class WantedTable:
    """A table for a paper.

    Attributes:
        format: A key of `TABLES`.
        metrics: The metrics in the table; none: the objective and all that a page has room for.
    """

    format: str
    metrics: tuple[str, ...] = ()

    def _refuse_unknown(self, options: Iterable[Options | RedwoodError]) -> None:
        """Raise `InvalidOptionError` for a metric that no run will have.

        The data of a setting is opened for it, as accuracies, label sets and returns have metrics of their own. Metrics
        of a user's own results are known at the end alone.
        """
        settings = {type(one.setting): one.setting for one in options if isinstance(one, Options)}
        known: dict[str, None] = {}
        for setting in settings.values():
            if known.keys() >= set(self.metrics):
                return
            try:
                found = setting.open_stream().results_type
            except RedwoodError:
                continue  # the run says what is wrong with its data
            if not _names_metrics(found):
                return
            known |= dict.fromkeys(found.metric_names())
        if known:
            self._refuse(known, "")

    def _refuse(self, known: Iterable[str], remedy: str) -> None:
        names = list(known)
        for metric in self.metrics:
            if metric not in names:
                average = next((name for name in names if name.startswith(f"average_{metric}")), None)
                near = average or nearest(metric, names)
                meant = f"did you mean {near}? There are" if near else "choose from"
                raise InvalidOptionError(
                    f"--table has no metric {metric!r} of these runs; {meant} {', '.join(names)}{remedy}."
                )

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{'-'.join(('comparison', *self.metrics))}{TABLES[self.format].suffix}"

    def write(self, pairs: Sequence[PairResults], folder: Path, remedy: str = "") -> str:
        """Write `comparison.tex` or `comparison.md`; the names of metrics stand in the name of the file.

        Args:
            pairs: The pairs; those of each measure have a table of their own.
            folder: Where to write.
            remedy: The end of the sentence on a metric that no run has, from a semicolon on.

        Returns:
            The text of the file.

        Raises:
            InvalidOptionError: If no run has a value of a metric.
        """
        runs = [run for pair in pairs for run in pair.results]
        if runs:
            known = dict.fromkeys(name for run in runs for name, value in run.metrics.items() if value is not None)
            self._refuse(known, remedy)
        form = TABLES[self.format]
        text = "\n".join(
            form.make(group, self._of(group)) for group in by_measure(pairs).values() if self._suits(group)
        )
        write_atomically(folder / self.file_name, text.encode())
        return text

    def _of(self, pairs: Sequence[PairResults]) -> list[str]:
        """The metrics that runs of these pairs have."""
        runs = [run for pair in pairs for run in pair.results]
        return [name for name in self.metrics if any(run.metrics.get(name) is not None for run in runs)]

    def _suits(self, pairs: Sequence[PairResults]) -> bool:
        return not self.metrics or bool(self._of(pairs))


def read_table(text: str | None, options: Iterable[Options | RedwoodError] = ()) -> WantedTable | None:
    """Read a value of `--table`, such as `latex:average_accuracy,forgetting`; None: no table.

    Args:
        text: The value.
        options: What each pair will be run with, or why it cannot be run; the metrics are checked for these.

    Raises:
        InvalidOptionError: If no run will have a metric of this name.
    """
    if text is None:
        return None
    name, _, metrics = text.partition(":")
    wanted = WantedTable(name, tuple(metrics.split(",")) if metrics else ())
    wanted._refuse_unknown(options)
    return wanted


def _names_metrics(results: type[Results]) -> bool:
    """False of a user's class whose metrics are its own: it need not name them."""
    makes = next(cls for cls in results.__mro__ if "metrics" in vars(cls))
    return "metric_names" in vars(makes) or makes.__module__.startswith("redwood.")

"""Results in a notebook or a script: as tables with pictures, as a figure, and as a data frame.

`redwood.settings.scores.shown` imports these functions when a result is asked to show itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from redwood.core.errors import RedwoodError
from redwood.core.extras import load_extra
from redwood.engine.figures.comparison import comparison_of
from redwood.engine.figures.drawing import looks_of_pairs
from redwood.engine.figures.plots import accuracy_curve
from redwood.engine.names import task_in_words
from redwood.engine.pair_results import PairResults, by_measure, marked_bounds, run_key, with_short_names
from redwood.experiments.report.comparison_tables import COSTS
from redwood.experiments.report.content import drawn_comparison, drawn_run, result_tables
from redwood.experiments.report.page import filled
from redwood.experiments.report.tables import tables_of
from redwood.settings.scores.results import Results


def html_of(shown: Results | Sequence[PairResults]) -> str:
    """The tables and the pictures of a run or of pairs, as HTML that needs nothing else."""
    if isinstance(shown, Results):
        return filled("inline.html", title=repr(shown)[1:-1], tables=list(tables_of(shown)), figures=drawn_run(shown))
    pairs = marked_bounds(with_short_names(shown))
    title = pairs[0].label if len(pairs) == 1 else f"{len(pairs)} pairs of a setting and a method"
    return filled("inline.html", title=title, tables=result_tables(pairs), figures=drawn_comparison(pairs))


def figure_of(shown: Results | Sequence[PairResults]) -> Figure:
    """The main picture of a run or of pairs.

    Raises:
        RedwoodError: If no task was tested.
    """
    if isinstance(shown, Results):
        if not shown.tested:
            raise RedwoodError("There is nothing to draw: no task was tested; leave --eval_tasks none out.")
        return accuracy_curve(shown)
    pairs = marked_bounds(with_short_names(shown))
    tested = [pair for pair in pairs if any(run.tested for run in pair.results)]
    if not tested:
        raise RedwoodError("There is nothing to draw: no run has succeeded.")
    return comparison_of(next(iter(by_measure(tested).values())), looks_of_pairs(pairs))


def frame_of(shown: Results | Sequence[PairResults]) -> Any:
    """A `pandas.DataFrame`: the matrix of a run, or a line for each run of pairs.

    Raises:
        RedwoodError: If pandas is not installed.
    """
    pandas = load_extra("pandas", "data", "to_frame")
    if not isinstance(shown, Results):
        return pandas.DataFrame(list(_lines(shown)))
    tasks = range(max(map(len, shown.accuracy_matrix), default=0))
    order = shown.order or range(len(shown.accuracy_matrix))
    names = [f"after {task_in_words(shown, task)}" if shown.num_phases > 1 else "after training" for task in order]
    columns = [task_in_words(shown, task) for task in tasks]
    return pandas.DataFrame(shown.accuracy_matrix, index=names, columns=columns, dtype="float64")


def _lines(pairs: Sequence[PairResults]) -> Iterator[dict[str, object]]:
    for pair in pairs:
        for run in pair.results:
            seed, order = run_key(run)
            drawn = {} if order is None else {"class_order_seed": order}
            costs = {name: getattr(run.cost, name) for name in COSTS}
            yield {"setting": pair.setting, "method": pair.method, "seed": seed, **drawn, **run.metrics, **costs}

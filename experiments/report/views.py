"""Results in a notebook or a script: as tables with pictures, as a figure, and as a data frame.

`redwood.settings.scores.shown` imports these functions when a result is asked to show itself.
"""

from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.core.extras import load_extra
from redwood.engine.figures.comparison import comparison_of
from redwood.engine.figures.drawing import kept_figures, looks_of_pairs
from redwood.engine.figures.plots import accuracy_curve
from redwood.engine.names import task_in_words
from redwood.engine.pair_results import PairResults, by_measure, marked_bounds, run_key, with_short_names
from redwood.experiments.report.comparison_tables import COSTS, print_comparison
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


def text_of(pairs: Sequence[PairResults]) -> str:
    """The tables of pairs as the terminal has them, without colours."""
    console = Console(file=StringIO(), color_system=None)
    with console.capture() as captured:
        for group in by_measure(marked_bounds(with_short_names(pairs))).values():
            print_comparison(group, console)
    return captured.get().rstrip()


def figure_of(shown: Results | Sequence[PairResults], name: str = "") -> Figure:
    """The main picture of a run or of pairs, or the one of a name.

    Raises:
        RedwoodError: If no task was tested, or there is no picture of this name.
    """
    if isinstance(shown, Results):
        if not shown.tested:
            raise RedwoodError("There is nothing to draw: no task was tested; leave --eval_tasks none out.")
        return _named(name, drawn_run, shown) if name else accuracy_curve(shown)
    pairs = marked_bounds(with_short_names(shown))
    tested = [pair for pair in pairs if any(run.tested for run in pair.results)]
    if not tested:
        raise RedwoodError("There is nothing to draw: no run has succeeded.")
    if name:
        run = next(run for run in tested[0].results if run.tested)
        return _named(name, drawn_comparison, pairs, drawn_run, run)
    return comparison_of(next(iter(by_measure(tested).values())), looks_of_pairs(pairs))


def _named(name: str, draw: Callable[[Any], object], shown: object, *of_one: Any) -> Figure:
    """The picture of a name among those that `draw` makes of what is shown; `of_one` has the same for a single run."""
    with kept_figures() as drawn:
        draw(shown)
    wanted = name.replace(" ", "_")  # as headings of reports have it
    if wanted in drawn:
        return drawn[wanted]
    if of_one:
        with kept_figures() as single:
            of_one[0](of_one[1])
        if wanted in single:
            raise InvalidOptionError(f"{name} is a picture of one run; draw it by results[0].plot({wanted!r}).")
    raise UnknownNameError("picture", name, drawn)


def frame_of(shown: Results | Sequence[PairResults], per: str = "run") -> Any:
    """A `pandas.DataFrame`: the matrix of a run, a line for each run of pairs, or a line for each test of a task.

    Raises:
        RedwoodError: If pandas is not installed, or `per` is neither "run" nor "task".
    """
    pandas = load_extra("pandas", "data", "to_frame")
    if per not in ("run", "task"):
        raise InvalidOptionError(f"to_frame(per={per!r}) is unknown; give 'run' or 'task'.")
    if per == "task":
        pairs = [PairResults(shown.setting, shown.method, [shown])] if isinstance(shown, Results) else shown
        return pandas.DataFrame(list(_tests(pairs)))
    if not isinstance(shown, Results):
        return pandas.DataFrame(list(_lines(shown)))
    tasks = range(max(map(len, shown.accuracy_matrix), default=0))
    order = shown.order or range(len(shown.accuracy_matrix))
    names = [f"after {task_in_words(shown, task)}" if shown.num_phases > 1 else "after training" for task in order]
    columns = [task_in_words(shown, task) for task in tasks]
    return pandas.DataFrame(shown.accuracy_matrix, index=names, columns=columns, dtype="float64")


def _tests(pairs: Sequence[PairResults]) -> Iterator[dict[str, object]]:
    for pair in pairs:
        for run in pair.results:
            for phase, row in enumerate(run.accuracy_matrix):
                for task, score in enumerate(row):
                    if score is not None:
                        yield _names(pair, run) | {"phase": phase, "task": task, run.measure.key: score}


def _names(pair: PairResults, run: Results) -> dict[str, object]:
    seed, order = run_key(run)
    drawn = {} if order is None else {"class_order_seed": order}
    return {"setting": pair.setting, "method": pair.method, "seed": seed, **drawn}


def _lines(pairs: Sequence[PairResults]) -> Iterator[dict[str, object]]:
    for pair in pairs:
        for run in pair.results:
            costs = {name: getattr(run.cost, name) for name in COSTS}
            yield _names(pair, run) | run.metrics | costs

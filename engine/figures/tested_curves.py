"""The picture of tests inside phases (`--eval_every`): return and success of each task over the steps, and their mean.

Curves of success over steps, averaged over all tasks, are what Continual World shows (Wolczyk et al., 2021, figure 2).
"""

import os

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from redwood.engine.figures.drawing import (
    describe_tasks,
    label_ends,
    name_average,
    new_figure,
    save_figure,
    scale_of,
    shade_phases,
    style_axes,
    title_run,
)
from redwood.engine.names import task_in_words
from redwood.settings.rl.outcomes import Evaluations
from redwood.settings.rl.results import ReturnResults
from redwood.settings.scores.measure import RETURN, SUCCESS, Measure

_PANEL = (7.4, 3.6)  # inches
_MAX_LABELLED_TASKS = 10
_ROOM = 1.04


def plot_test_curves(results: ReturnResults, path: str | os.PathLike[str]) -> None:
    """Draw the curves of all tasks and their mean: returns, and below them successes, if environments report these.

    Args:
        results: A run with `--eval_every`.
        path: File to write.
    """
    found = results.evaluations
    assert found is not None
    shown = {RETURN: found.values("curve_return"), SUCCESS: found.values("curve_success")}
    panels = {measure: values for measure, values in shown.items() if np.isfinite(values).any()}
    figure = new_figure(_PANEL[0], _PANEL[1] * len(panels) + 0.4)
    for number, (measure, values) in enumerate(panels.items(), start=1):
        _draw(figure.add_subplot(len(panels), 1, number), results, found, measure, values)
    title_run(figure, results, f"{' and '.join(measure.name for measure in panels)} over steps".capitalize())
    describe_tasks(figure, results)
    save_figure(figure, path)


def _draw(
    axes: Axes, results: ReturnResults, found: Evaluations, measure: Measure, values: NDArray[np.float64]
) -> None:
    steps, values = np.array(found.steps), measure.factor * values
    mean = measure.factor * found.average(f"curve_{measure.key}")
    tasks, limits = values.shape[1], scale_of(measure, values, _ROOM)
    colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.8, tasks))]
    for task, colour in enumerate(colours):
        axes.plot(steps, values[:, task], color=colour, lw=1.2)
    axes.plot(steps, mean, color="black", lw=2.4, label="mean of all tasks")
    if tasks <= _MAX_LABELLED_TASKS:
        ends = [(steps[-1], values[-1, task], task_in_words(results, task), colours[task]) for task in range(tasks)]
        ends.append((steps[-1], mean[-1], "mean", "black"))
        label_ends(axes, ends, height=_PANEL[1] - 0.8, limits=limits)
    else:
        name_average(axes)
    axes.set_ylim(*limits)
    axes.set_xlim(0, max(int(steps[-1]), 1))
    if results.num_phases > 1:
        order = results.order or range(len(results.accuracy_matrix))
        axes.set_xlim(0, results.steps_per_phase * len(order))
        shade_phases(axes, order, results.steps_per_phase)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    style_axes(axes, "environment steps", f"{measure.label} in tests")

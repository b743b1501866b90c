"""A figure of the score of a run against its FLOPs, after each phase."""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from redwood.engine.figures.drawing import (
    COLOURS,
    name_phases,
    new_figure,
    save_figure,
    scale_of,
    style_axes,
    title_run,
)
from redwood.engine.names import task_in_words
from redwood.settings.scores.cost import USES
from redwood.settings.scores.results import Results

_ROOM = 1.04  # for markers at the end of a scale
_MAX_NAMED_PHASES = 10
_COLOURS = dict(zip(USES, COLOURS, strict=False))


def has_cost_curve(results: Results) -> bool:
    """True if there is something to draw: several phases, and FLOPs by use."""
    return len(results.accuracy_matrix) > 1 and results.cost.flops is not None and results.cost.total_flops > 0


def plot_cost_curve(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw the average over the tasks so far against the FLOPs so far; and below, these FLOPs by use after each phase.

    Args:
        results: A run, `has_cost_curve` of it.
        path: File to write.
    """
    assert results.cost.flops is not None
    so_far = {use: np.cumsum(flops) for use, flops in results.cost.flops.items() if any(flops)}
    figure = new_figure(6.4, 6.0)
    _draw_course(figure.add_subplot(2, 1, 1), results, np.sum(list(so_far.values()), axis=0))
    _draw_uses(figure.add_subplot(2, 1, 2), results, so_far)
    title_run(figure, results, f"{results.measure.title} and compute as tasks are learned")
    save_figure(figure, path)


def _draw_course(axes: Axes, results: Results, total: NDArray[np.float64]) -> None:
    measure, values = results.measure, results.measure.factor * results.average_curve
    axes.plot(total, values, color="black", marker="o", markersize=4.5, lw=1.8)
    if len(values) <= _MAX_NAMED_PHASES:
        for phase, task in enumerate(results.order or range(len(values))):
            place = (total[phase], values[phase])
            axes.annotate(
                task_in_words(results, task), place, (0, 6), textcoords="offset points", ha="center", fontsize=9
            )
    axes.set_ylim(*scale_of(measure, values, _ROOM + 0.06))
    axes.set_xlim(0, _ROOM * total[-1])
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    unit = f" ({measure.unit})" if measure.unit else ""
    style_axes(axes, "FLOPs so far", f"average {measure.name}\non tasks so far{unit}")


def _draw_uses(axes: Axes, results: Results, so_far: Mapping[str, NDArray[np.float64]]) -> None:
    phases = len(results.accuracy_matrix)
    below = np.zeros(phases)
    for use, flops in so_far.items():
        axes.bar(range(phases), flops, bottom=below, color=_COLOURS[use], width=0.7, label=use)
        below = below + flops
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(so_far), frameon=False, borderaxespad=0.1, fontsize=9
    )
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    name_phases(axes.xaxis, results, phases)
    style_axes(axes, "trained on task" if results.phase_tasks else "trained up to task", "FLOPs so far")
    axes.grid(axis="x", visible=False)

"""The curve of what a run measured while it was trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from redwood.settings.drawing import COLOURS, name_average, scale_of, style_axes
from redwood.settings.measure import RETURN
from redwood.settings.results import Results
from redwood.settings.rl.results import ReturnResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 1.04
MAX_LABELLED_TASKS = 10


def draw_online(axes: "Axes", results: Results) -> None:
    """Draw what was measured while a run was trained, over the samples or steps seen, and its average."""
    measure = results.measure
    samples, values = np.array(results.online_curve, dtype=np.float64).T
    average, shown = results.metrics[f"online_{measure.key}"], measure.factor * values
    assert average is not None
    axes.plot(samples, shown, color=COLOURS[0], lw=1.3)
    label = f"average {measure.show(average)}"
    axes.axhline(measure.factor * average, color="black", lw=1.2, ls="--", label=label)
    name_average(axes)
    axes.set_ylim(*scale_of(measure, shown, ROOM))
    axes.set_xlim(0, samples[-1])
    if isinstance(results, ReturnResults) and results.n_phases > 1:
        axes.set_xlim(0, results.steps_per_phase * len(results.accuracy_matrix))
        order = results.order or range(len(results.accuracy_matrix))
        _draw_task_bands(axes, order, results.steps_per_phase)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    # Of several passes, only the first is scored: later ones have learned from the samples already.
    first = " in the first pass" if results.cost.training_samples > samples[-1] and measure is not RETURN else ""
    style_axes(axes, f"training {measure.samples} seen{first}", f"online {measure.label}")


def _draw_task_bands(axes: "Axes", order: Sequence[int], steps: int) -> None:
    """Shade every second phase behind a curve over steps, of which each phase has `steps`, and number the tasks."""
    for phase, task in enumerate(order):
        left, right = phase * steps, (phase + 1) * steps
        if phase % 2:
            axes.axvspan(left, right, color="black", alpha=0.06, lw=0)
        if len(order) <= MAX_LABELLED_TASKS:
            axes.annotate(
                f"task {task}",
                ((left + right) / 2, 0.0),
                (0, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color="#555555",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
            )

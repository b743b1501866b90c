"""Pictures of one run: the accuracy (or mAP, or RMSE) matrix, accuracy over the phases, and online accuracy.

The suffix of the file decides the format (png, pdf, svg, ...); without one, a PNG and an SVG are written. Tasks are
numbered from 0, as everywhere.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from redwood.core.registry import load_object
from redwood.core.user_warnings import warn
from redwood.engine.figures.cost_curve import has_cost_curve, plot_cost_curve
from redwood.engine.figures.drawing import (
    COLOURS,
    describe_tasks,
    label_ends,
    name_average,
    name_phases,
    name_tasks,
    new_figure,
    save_figure,
    scale_of,
    shade_phases,
    style_axes,
    title_run,
)
from redwood.engine.figures.slices import plot_slices
from redwood.engine.figures.timeline import plot_timeline
from redwood.engine.names import task_in_words, task_label
from redwood.settings.scores.measure import RETURN, Measure
from redwood.settings.scores.results import Draw, Results

# More tasks than this are told apart by a colour bar, or shown without the numbers in the cells.
_MAX_LABELLED_TASKS = 10
_MAX_ANNOTATED_TASKS = 25
_LARGE = 100.0  # values without a unit that need no digits behind the point
_ROOM = 1.04  # for markers at the end of a scale


def draw_run(results: Results, folder: Path, suffix: str = "") -> None:
    """Draw the pictures of a complete run into a folder: those of every run, and `results.figures()`.

    Args:
        results: The run.
        folder: Where to write.
        suffix: The format, such as `.svg`; empty: a PNG, and an SVG for papers and for the page of the run.
    """
    key = results.measure.key
    drawn: dict[str, Draw] = {f"{key}_matrix": plot_accuracy_matrix, f"{key}_curve": plot_accuracy_curve}
    if has_cost_curve(results):
        drawn["cost_curve"] = plot_cost_curve
    if results.slices is not None and results.slices.by != "class":
        drawn["slices"] = plot_slices
    own = results.figures()
    for name, draw in drawn.items():
        if name not in own:
            draw(results, folder / f"{name}{suffix}")
    _draw_own(results, own, folder, suffix)
    timeline = (results.cost.rehearsal or {}).get("timeline", ())
    if any(name == "step" for name, _, _ in timeline):
        plot_timeline(timeline, folder / f"rehearsal_timeline{suffix}")


def _draw_own(results: Results, own: Mapping[str, Draw | str], folder: Path, suffix: str) -> None:
    """Draw the pictures that a class of results names; those of a user do not end a run that has been trained."""
    for name, draw in own.items():
        try:
            function = cast("Draw", load_object("figure", draw)) if isinstance(draw, str) else draw
            function(results, folder / f"{name}{suffix}")
        except Exception as error:
            if type(results).__module__.startswith("redwood."):
                raise
            warn(f"The picture {name} was not drawn: {type(error).__name__}: {error}")


def plot_accuracy_matrix(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw the matrix of results as a heat map: a row per phase trained, a column per task tested.

    Accuracies are in percent. Cells of tasks that were not tested are blank.

    Args:
        results: A run with at least one evaluated phase; of an unfinished run, the rows there are.
        path: File to write.

    Raises:
        ValueError: If no phase has been evaluated yet.
    """
    shown, measure = _shown(results), results.measure
    phases, tasks = shown.shape
    cell = 0.62 if tasks <= _MAX_LABELLED_TASKS else 0.4 if tasks <= _MAX_ANNOTATED_TASKS else 9.0 / tasks
    figure = new_figure(max(cell * tasks + 1.8, 4.0), max(cell * phases + 1.3, 1.7))
    axes = figure.add_subplot()
    low, high = scale_of(measure, shown)
    image = axes.imshow(shown, cmap="cividis", vmin=low, vmax=high)
    if tasks <= _MAX_ANNOTATED_TASKS:
        _annotate_cells(axes, shown, measure)
    name_tasks(axes.xaxis, results, range(tasks))
    axes.set_xlabel("tested on task")
    if results.num_phases == 1:
        axes.set_yticks([])
    else:
        name_phases(axes.yaxis, results, phases)
        axes.set_ylabel("trained on task" if results.phase_tasks else f"trained up to {results.phase_name}")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if phases > 1:
        figure.colorbar(image, ax=axes, label=measure.label, fraction=0.05, pad=0.02).outline.set_linewidth(0)
    title_run(figure, results, f"{measure.title}{f' in {measure.unit}' if measure.unit else ''} on each task")
    describe_tasks(figure, results)
    save_figure(figure, path)


def plot_accuracy_curve(results: Results, path: str | os.PathLike[str]) -> None:
    """Write `accuracy_curve` to a file; see there for the errors."""
    save_figure(accuracy_curve(results), path)


def accuracy_curve(results: Results) -> Figure:
    """Draw the accuracy on each task after each phase since it was learned, and the average over tasks learned so far.

    With a single phase: a bar per task. Where online accuracy was measured, it gets a panel of its own.

    Args:
        results: A run with at least one evaluated phase.

    Raises:
        ValueError: If no phase has been evaluated yet.
    """
    shown, measure = _shown(results), results.measure
    panels = 2 if results.online_curve else 1
    figure = new_figure(7.4, 4.0 if panels == 1 else 7.2)
    axes = figure.add_subplot(panels, 1, 1)
    if results.num_phases == 1:
        _draw_task_bars(axes, shown[0], results)
    else:
        _draw_task_lines(axes, shown, results)
    if panels == 2:
        draw_online(figure.add_subplot(panels, 1, 2), results)
    when = "after training" if results.num_phases == 1 else "as tasks are learned"
    title_run(figure, results, f"{measure.title} {when}")
    describe_tasks(figure, results)
    return figure


def _annotate_cells(axes: Axes, shown: NDArray[np.float64], measure: Measure) -> None:
    few, middle = shown.shape[1] <= _MAX_LABELLED_TASKS, sum(scale_of(measure, shown)) / 2
    large = not measure.unit and float(np.nanmax(np.abs(shown))) >= _LARGE
    for (phase, task), value in np.ndenumerate(shown):
        if np.isnan(value):
            continue
        axes.text(
            task,
            phase,
            f"{value:.{0 if large else measure.decimals - (not few)}f}",
            ha="center",
            va="center",
            fontsize=10 if few else 8,
            # The middle of cividis is the grey on which black and white read equally well.
            color="black" if value > middle else "white",
        )


def _draw_task_lines(axes: Axes, shown: NDArray[np.float64], results: Results) -> None:
    phases, tasks, measure = *shown.shape, results.measure
    average = measure.factor * results.average_curve
    order = results.order or list(range(phases))
    limits = scale_of(measure, shown, _ROOM)
    # Tasks are ordered, so their colours are, too; the palest end of the map would be lost on white.
    colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.8, tasks))]
    size = 3.5 if tasks <= _MAX_LABELLED_TASKS else 2.0
    for task in set(order):
        first = order.index(task)
        axes.plot(range(first, phases), shown[first:, task], color=colours[task], marker="o", markersize=size, lw=1.2)
    axes.plot(range(phases), average, color="black", marker="o", markersize=4.5, lw=2.8, label="average so far")
    if tasks <= _MAX_LABELLED_TASKS:
        last = phases - 1
        ends = [(last, shown[-1, task], task_in_words(results, task), colours[task]) for task in sorted(set(order))]
        label_ends(axes, [*ends, (last, average[-1], "average so far", "black")], height=3.0, limits=limits)
    else:
        _add_task_colours(axes, colours, results)
    axes.set_ylim(*limits)
    axes.set_xlim(-0.02 * results.num_phases, 1.02 * results.num_phases - 1)
    name_phases(axes.xaxis, results, results.num_phases)
    style_axes(axes, "trained on task" if results.phase_tasks else "trained up to task", measure.label)


def _add_task_colours(axes: Axes, colours: Sequence[str], results: Results) -> None:
    tasks = len(colours)
    scale = ScalarMappable(BoundaryNorm(np.arange(tasks + 1) - 0.5, tasks), ListedColormap(colours))
    bar = axes.figure.colorbar(scale, ax=axes, label="task", pad=0.02)
    shown = list(range(0, tasks, -(-tasks // 10)))
    bar.set_ticks(shown, labels=[task_label(results, task) for task in shown])
    bar.ax.tick_params(length=0, which="both")
    name_average(axes)


def _draw_task_bars(axes: Axes, shown: NDArray[np.float64], results: Results) -> None:
    tasks, measure = len(shown), results.measure
    bars = axes.bar(range(tasks), shown, color=COLOURS[0], width=0.7)
    if tasks <= _MAX_ANNOTATED_TASKS:
        decimals = measure.decimals - (tasks > _MAX_LABELLED_TASKS)
        # A line through a number is hard to read: the numbers get a ground of their own, above the line.
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.8}
        axes.bar_label(bars, fmt=f"%.{decimals}f", padding=3, fontsize=9, bbox=ground, zorder=4)
    average = f"average {shown.mean():.{measure.decimals}f}"
    axes.axhline(shown.mean(), color="black", lw=1.2, ls="--", label=average)
    name_average(axes)
    margin = max(0.6, (4 - tasks) / 2)
    axes.set_xlim(-margin, tasks - 1 + margin)
    axes.set_ylim(*scale_of(measure, shown, 1.09))
    name_tasks(axes.xaxis, results, range(tasks))
    style_axes(axes, "tested on task", measure.label)
    axes.grid(axis="x", visible=False)


def draw_online(axes: Axes, results: Results) -> None:
    """Draw what was measured while a run was trained, over the samples or steps seen, and its average."""
    measure = results.measure
    samples, values = np.array(results.online_curve, dtype=np.float64).T
    average, shown = results.metrics[measure.online_key], measure.factor * values
    assert average is not None
    axes.plot(samples, shown, color=COLOURS[0], lw=1.3)
    label = f"average {measure.show(average)}"
    axes.axhline(measure.factor * average, color="black", lw=1.2, ls="--", label=label)
    name_average(axes)
    axes.set_ylim(*scale_of(measure, shown, _ROOM))
    axes.set_xlim(0, samples[-1])
    steps = results.steps_per_phase
    if steps is not None and results.num_phases > 1:
        axes.set_xlim(0, steps * len(results.accuracy_matrix))
        order = results.order or range(len(results.accuracy_matrix))
        shade_phases(axes, order, steps)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    # Of several passes, only the first is scored: later ones have learned from the samples already.
    first = " in the first pass" if results.cost.training_samples > samples[-1] and measure is not RETURN else ""
    style_axes(axes, f"training {measure.samples} seen{first}", f"online {measure.online_label}")


def _shown(results: Results) -> NDArray[np.float64]:
    """Every measured value as it is shown (accuracies in percent), those on tasks yet to be learned included."""
    if not results.accuracy_matrix:
        raise ValueError("There is no accuracy to draw: no phase has been evaluated yet.")
    return results.measure.factor * np.array(results.accuracy_matrix, dtype=np.float64)

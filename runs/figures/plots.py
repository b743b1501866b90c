"""Pictures of results: the accuracy (or RMSE) matrix, accuracy over the run, and methods side by side.

The suffix of the file decides the format (png, pdf, svg, ...). Tasks are numbered from 0, as everywhere.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from redwood.runs.figures.curves import draw_online, plot_timeline
from redwood.runs.figures.drawing import (
    COLOURS,
    Look,
    describe_tasks,
    height_of,
    label_ends,
    looks_of,
    name_average,
    new_figure,
    number_phases,
    number_tasks,
    save_figure,
    scale_of,
    style_axes,
    width_of,
)
from redwood.runs.figures.trade_off import draw_trade_off, has_trade_off
from redwood.runs.names import title_name, wrapped
from redwood.settings.results import Results, mean_and_std
from redwood.settings.scores.measure import Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# More tasks than this are told apart by a colour bar, or shown without the numbers in the cells.
_MAX_LABELLED_TASKS = 10
_MAX_ANNOTATED_TASKS = 25
_LARGE = 100.0  # values without a unit that need no digits behind the point
_ROOM = 1.04  # for markers at the end of a scale
_BETWEEN = 0.12  # inches on either side of a panel, so that numbers behind bars keep off what stands beside them


def draw_run(results: Results, folder: Path) -> None:
    """Draw the pictures of a complete run into its folder."""
    measure = results.measure.key
    plot_accuracy_matrix(results, folder / f"{measure}_matrix.png")
    plot_accuracy_curve(results, folder / f"{measure}_curve.png")
    timeline = (results.cost.rehearsal or {}).get("timeline", ())
    if any(name == "step" for name, _, _ in timeline):
        plot_timeline(timeline, folder / "rehearsal_timeline.png")


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
    number_tasks(axes, tasks)
    axes.set_xlabel("tested on task")
    if results.num_phases == 1:
        axes.set_yticks([])
    else:
        number_phases(axes.yaxis, results, phases)
        axes.set_ylabel("trained on task" if results.phase_tasks else "trained up to task")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if phases > 1:
        figure.colorbar(image, ax=axes, label=measure.label, fraction=0.05, pad=0.02).outline.set_linewidth(0)
    _title(figure, results, f"{measure.title}{f' in {measure.unit}' if measure.unit else ''} on each task")
    describe_tasks(figure, results)
    save_figure(figure, path)


def plot_accuracy_curve(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw the accuracy on each task after each phase since it was learned, and the average over tasks learned so far.

    With a single phase: a bar per task. Where online accuracy was measured, it gets a panel of its own.

    Args:
        results: A run with at least one evaluated phase.
        path: File to write.

    Raises:
        ValueError: If no phase has been evaluated yet.
    """
    shown, measure = _shown(results), results.measure
    panels = 2 if results.online_curve else 1
    figure = new_figure(7.4, 4.0 if panels == 1 else 7.2)
    axes = figure.add_subplot(panels, 1, 1)
    if results.num_phases == 1:
        _draw_task_bars(axes, shown[0], measure)
    else:
        _draw_task_lines(axes, shown, results)
    if panels == 2:
        draw_online(figure.add_subplot(panels, 1, 2), results)
    when = "after training" if results.num_phases == 1 else "as tasks are learned"
    _title(figure, results, f"{measure.title} {when}")
    describe_tasks(figure, results)
    save_figure(figure, path)


def plot_comparison(
    runs: Sequence[tuple[str, Sequence[Results]]],
    path: str | os.PathLike[str],
    looks: Mapping[str, Look] | None = None,
) -> None:
    """Draw the final average accuracy of several methods as bars and, where there are several phases, its course.

    If all of them are under one setting, a further panel has it against what they computed.

    Bars are sorted, best on top. Bars and lines are means over seeds; error bars and shades are one standard deviation.

    Args:
        runs: Label and runs (one per seed) of each method.
        path: File to write.
        looks: How each label looks (default: as `looks_of` these labels has it).

    Raises:
        ValueError: If there is nothing to compare, or a run has no evaluated phase.
    """
    if not runs:
        raise ValueError("There are no results to compare; pass at least one label with its runs.")
    lower_is_better = runs[0][1][0].lower_is_better
    best_last = sorted(
        runs, key=lambda entry: float(np.mean([run.objective for run in entry[1]])), reverse=lower_is_better
    )
    looks = looks or looks_of(label for label, _ in runs)
    names = [wrapped(label) for label, _ in runs]
    courses = [(label, group) for label, group in best_last if all(len(run.learned) > 1 for run in group)]
    traded = len({run.setting for _, group in runs for run in group}) == 1 and has_trade_off(runs)
    panels = 1 + bool(courses) + traded
    width = 3.8 + 0.08 * width_of(names)
    height = max((0.2 + 0.16 * height_of(names)) * len(runs) + 1.0, 4.0 if panels > 1 else 1.6)
    figure = new_figure(panels * width, height, between=_BETWEEN)
    _draw_ranking(figure.add_subplot(1, panels, 1), best_last, looks)
    if courses:
        _draw_courses(figure.add_subplot(1, panels, 2), courses, looks, height - 1.0)
    if traded:
        draw_trade_off(figure.add_subplot(1, panels, panels), runs, (width - 1.5, height - 0.8), looks, name_all=True)
    title_comparison(figure, [run for _, group in runs for run in group])
    save_figure(figure, path)


def _annotate_cells(axes: "Axes", shown: NDArray[np.float64], measure: Measure) -> None:
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


def _draw_task_lines(axes: "Axes", shown: NDArray[np.float64], results: Results) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

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
        ends = [(phases - 1, shown[-1, task], f"task {task}", colours[task]) for task in sorted(set(order))]
        label_ends(axes, [*ends, (phases - 1, average[-1], "average so far", "black")], height=3.0, limits=limits)
    else:
        _add_task_colours(axes, colours)
    axes.set_ylim(*limits)
    axes.set_xlim(-0.02 * results.num_phases, 1.02 * results.num_phases - 1)
    number_phases(axes.xaxis, results, results.num_phases)
    style_axes(axes, "trained on task" if results.phase_tasks else "trained up to task", measure.label)


def _add_task_colours(axes: "Axes", colours: Sequence[str]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    tasks = len(colours)
    scale = ScalarMappable(BoundaryNorm(np.arange(tasks + 1) - 0.5, tasks), ListedColormap(colours))
    bar = axes.figure.colorbar(scale, ax=axes, label="task", pad=0.02)
    bar.set_ticks(list(range(0, tasks, -(-tasks // 10))))
    bar.ax.tick_params(length=0, which="both")
    name_average(axes)


def _draw_task_bars(axes: "Axes", shown: NDArray[np.float64], measure: Measure) -> None:
    tasks = len(shown)
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
    number_tasks(axes, tasks)
    style_axes(axes, "tested on task", measure.label)
    axes.grid(axis="x", visible=False)


def _draw_ranking(axes: "Axes", best_last: Sequence[tuple[str, Sequence[Results]]], looks: Mapping[str, Look]) -> None:
    measure, longest, shortest = best_last[0][1][0].measure, 0.0, 0.0
    for row, (label, group) in enumerate(best_last):
        summary = mean_and_std(group)[f"average_{measure.key}"]
        assert summary is not None
        mean, deviation = measure.factor * summary[0], measure.factor * summary[1]
        longest, shortest = max(longest, mean + deviation), min(shortest, mean)
        several = len(group) > 1
        axes.barh(
            row,
            mean,
            xerr=deviation if several else None,
            height=0.68,
            capsize=3,
            color=looks[label].colour,
            hatch=looks[label].hatch,
            edgecolor="white",
            linewidth=0,
        )
        text = measure.show(summary[0]) + (f" ± {measure.show(summary[1])}" if several else "")
        axes.annotate(text, (mean + deviation, row), (6, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(best_last)), [wrapped(label) for label, _ in best_last])
    axes.set_xlim(*scale_of(measure, np.array([longest, shortest])))
    style_axes(axes, f"average {measure.label}", "")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _draw_courses(
    axes: "Axes", courses: Sequence[tuple[str, Sequence[Results]]], looks: Mapping[str, Look], height: float
) -> None:
    ends: list[tuple[float, float, str, str]] = []
    measure, highest, lowest = courses[0][1][0].measure, 0.0, 0.0
    for label, group in courses:
        look = looks[label]
        phases = min(len(run.learned) for run in group)
        curves = measure.factor * np.array([run.average_curve[:phases] for run in group])
        mean = curves.mean(axis=0)
        highest, lowest = max(highest, float(curves.max())), min(lowest, float(curves.min()))
        axes.plot(range(phases), mean, color=look.colour, ls=look.line, marker=look.marker, markersize=3.5, lw=1.8)
        if len(group) > 1:
            deviation = curves.std(axis=0, ddof=1)
            axes.fill_between(range(phases), mean - deviation, mean + deviation, color=look.colour, alpha=0.2, lw=0)
        ends.append((phases - 1, float(mean[-1]), wrapped(label), look.colour))
    tasks = int(max(x for x, *_ in ends)) + 1
    limits = scale_of(measure, np.array([highest, lowest]), _ROOM)
    for last in {x for x, *_ in ends}:
        label_ends(axes, [end for end in ends if end[0] == last], height=height, limits=limits)
    axes.set_ylim(*limits)
    axes.set_xlim(-0.02 * tasks, 1.02 * tasks - 1)
    number_tasks(axes, tasks, most=10)
    unit = f" ({measure.unit})" if measure.unit else ""
    style_axes(axes, "trained up to task", f"average {measure.name} on tasks so far{unit}")


def _shown(results: Results) -> NDArray[np.float64]:
    """Every measured value as it is shown (accuracies in percent), those on tasks yet to be learned included."""
    if not results.accuracy_matrix:
        raise ValueError("There is no accuracy to draw: no phase has been evaluated yet.")
    return results.measure.factor * np.array(results.accuracy_matrix, dtype=np.float64)


def _title(figure: "Figure", results: Results, what: str) -> None:
    done = len(results.accuracy_matrix)
    unfinished = "" if done == results.num_phases else f", {done} of {results.num_phases} phases"
    names = (*map(title_name, (results.setting, results.method, results.dataset)), f"seed {results.seed}{unfinished}")
    subtitle = " · ".join(name for name in names if name)
    figure.suptitle(f"{what}\n{subtitle}", fontsize=11)


def title_comparison(figure: "Figure", results: Sequence[Results]) -> None:
    """Write above a figure what all results have in common, and what it shows of how many seeds."""
    settings = sorted({title_name(run.setting) for run in results})
    datasets = sorted({title_name(run.dataset) for run in results})
    seeds = len({run.seed for run in results})
    scope = " · ".join([*(settings if len(settings) == 1 else []), *(datasets if len(datasets) == 1 else [])])
    counted = f"{seeds} seeds: mean and standard deviation" if seeds > 1 else f"seed {results[0].seed}"
    figure.suptitle(" · ".join(part for part in (scope, counted) if part), fontsize=11)

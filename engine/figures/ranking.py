"""Methods side by side: their average accuracy as bars, its course over the phases, and what it costs."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redwood.engine.figures.drawing import (
    BEHIND_TEXT,
    Look,
    height_of,
    label_ends,
    looks_of,
    name_phases,
    new_figure,
    number_tasks,
    save_figure,
    scale_of,
    style_axes,
    width_of,
)
from redwood.engine.figures.trade_off import draw_trade_off, has_trade_off
from redwood.engine.names import has_short_names, title_name, wrapped
from redwood.engine.pair_results import repeats_of, run_key
from redwood.settings.scores.results import Results, mean_and_std

_ROOM = 1.04  # for markers at the end of a scale
_MAX_ROW = 0.75  # inches that a bar and the space around it take up
_BETWEEN = 0.12  # inches on either side of a panel, so that numbers behind bars keep off what stands beside them


def plot_comparison(
    runs: Sequence[tuple[str, Sequence[Results]]],
    path: str | os.PathLike[str],
    looks: Mapping[str, Look] | None = None,
) -> None:
    """Write `ranking_of` to a file; see there for the arguments and the errors."""
    save_figure(ranking_of(runs, looks), path)


def ranking_of(runs: Sequence[tuple[str, Sequence[Results]]], looks: Mapping[str, Look] | None = None) -> Figure:
    """Draw the final average accuracy of several methods as bars and, where there are several phases, its course.

    If all of them are under one setting, a further panel has it against what they computed.

    Bars are sorted, best on top. Bars and lines are means over seeds; error bars and shades are one standard deviation.
    Upper bounds are dashed lines, too, in all panels.

    Args:
        runs: Label and runs (one per seed) of each method.
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
    courses = [(label, group) for label, group in best_last if has_courses(group)]
    compared = [run for label, group in runs if not looks[label].is_bound for run in group] or runs[0][1]
    traded = len({run.setting for run in compared}) == 1 and has_trade_off(runs)
    panels = 1 + bool(courses) + traded
    width = 3.8 + 0.08 * width_of(names)
    height = max((0.2 + 0.16 * height_of(names)) * len(runs) + 1.0, 4.0 if panels > 1 else 1.6)
    figure = new_figure(panels * width, height, between=_BETWEEN)
    _draw_ranking(figure.add_subplot(1, panels, 1), best_last, looks, height - 1.0)
    if courses:
        _draw_courses(figure.add_subplot(1, panels, 2), courses, looks, height - 1.0)
    if traded:
        draw_trade_off(figure.add_subplot(1, panels, panels), runs, (width - 1.5, height - 0.8), looks, name_all=True)
    title_comparison(figure, compared)
    return figure


def has_courses(group: Sequence[Results]) -> bool:
    """True if all runs of a method have several phases."""
    return all(len(run.learned) > 1 for run in group)


def _draw_ranking(
    axes: Axes, best_last: Sequence[tuple[str, Sequence[Results]]], looks: Mapping[str, Look], height: float
) -> None:
    measure, longest, shortest = best_last[0][1][0].measure, 0.0, 0.0
    for row, (label, group) in enumerate(best_last):
        summary = mean_and_std(group)[f"average_{measure.key}"]
        assert summary is not None
        mean, deviation = measure.factor * summary[0], measure.factor * summary[1]
        longest, shortest = max(longest, mean + deviation), min(shortest, mean)
        several, look = len(group) > 1, looks[label]
        if look.is_bound:
            axes.axvline(mean, color=look.colour, ls=look.line, lw=1.2, zorder=3)
        axes.barh(
            row,
            mean,
            xerr=deviation if several else None,
            height=0.68,
            capsize=3,
            color="none" if look.is_bound else look.colour,
            hatch=look.hatch,
            edgecolor=look.colour if look.is_bound else "white",
            linestyle=look.line if look.is_bound else "-",
            linewidth=1.2 if look.is_bound else 0,
        )
        text = measure.show(summary[0]) + (f" ± {measure.show(summary[1])}" if several else "")
        # The line of a bound passes behind.
        axes.annotate(
            text,
            (mean + deviation, row),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            zorder=4,
            bbox=BEHIND_TEXT,
        )
    axes.set_yticks(range(len(best_last)), [wrapped(label) for label, _ in best_last])
    axes.set_xlim(*scale_of(measure, np.array([longest, shortest])))
    margin = max(0.0, height / _MAX_ROW - len(best_last)) / 2
    axes.set_ylim(-0.6 - margin, len(best_last) - 0.4 + margin)
    style_axes(axes, f"average {measure.label}", "")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _draw_courses(
    axes: Axes, courses: Sequence[tuple[str, Sequence[Results]]], looks: Mapping[str, Look], height: float
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
            possible = (0.0, 100.0) if measure.unit == "%" else (None, None)
            band = np.clip([mean - deviation, mean + deviation], *possible)
            axes.fill_between(range(phases), *band, color=look.colour, alpha=0.2, lw=0)
        ends.append((phases - 1, float(mean[-1]), wrapped(label), look.colour))
    tasks = int(max(x for x, *_ in ends)) + 1
    limits = scale_of(measure, np.array([highest, lowest]), _ROOM)
    for last in {x for x, *_ in ends}:
        label_ends(axes, [end for end in ends if end[0] == last], height=height, limits=limits)
    axes.set_ylim(*limits)
    axes.set_xlim(-0.02 * tasks, 1.02 * tasks - 1)
    _name_tasks(axes, [run for _, group in courses for run in group], tasks)
    unit = f" ({measure.unit})" if measure.unit else ""
    style_axes(axes, "trained up to task", f"average {measure.name} on tasks so far{unit}")


def _name_tasks(axes: Axes, runs: Sequence[Results], tasks: int) -> None:
    """Put on the horizontal axis the tasks that phases train: their names, if they are short and all runs agree."""
    longest = max(runs, key=lambda run: len(run.learned))
    own = {(tuple(run.task_names), tuple(run.phase_tasks or ())) for run in runs if len(run.learned) == tasks}
    if has_short_names(longest) and len(own) == 1:
        name_phases(axes.xaxis, longest, tasks)
    else:
        number_tasks(axes, tasks, most=10)


def title_comparison(figure: Figure, results: Sequence[Results]) -> None:
    """Write a title above a figure: the common setting of all results, the shown value, and the number of seeds."""
    settings = sorted({title_name(run.setting) for run in results})
    datasets = sorted({title_name(run.dataset) for run in results})
    scope = " · ".join([*(settings if len(settings) == 1 else []), *(datasets if len(datasets) == 1 else [])])
    several = len({run_key(run) for run in results}) > 1
    counted = f"{repeats_of(results)}: mean and standard deviation" if several else f"seed {results[0].seed}"
    figure.suptitle(" · ".join(part for part in (scope, counted) if part), fontsize=11)

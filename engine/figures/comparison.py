"""The figure of a comparison: methods under settings as a heat map, and accuracy against cost."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from redwood.engine.figures.drawing import Look, height_of, looks_of, looks_of_pairs, new_figure, save_figure, width_of
from redwood.engine.figures.ranking import has_courses, plot_comparison, ranking_of, title_comparison
from redwood.engine.figures.trade_off import draw_trade_off, has_trade_off
from redwood.engine.names import wrapped
from redwood.engine.pair_results import PARTLY, SOME_FAILED, PairResults, by_measure, methods_in_order

_NOT_APPLICABLE, _FAILED = "#dddddd", "#b03030"
# Inches, width and height: a cell of the map, a panel, and the labels around a panel.
_CELL = (0.46, 0.3)
_DEVIATION = 0.13  # more, where a cell has a deviation below its mean
_PANEL = (3.0, 2.4)
_AROUND = (0.7, 0.6)
_MAX_PANELS = 6
_DIGITS = 5  # that a cell of the map has room for


def draw_comparisons(cells: Sequence[PairResults], folder: Path, suffix: str = "") -> None:
    """Draw all pictures of a comparison: one for each measure, and the courses of the methods under each setting.

    A method has one look in all of them.

    Args:
        cells: The pairs that apply.
        folder: Where to write `comparison...`; a picture of one setting has its name, with a number if it is taken.
        suffix: The format, such as `.svg`; empty: PNG and SVG.
    """
    looks, taken = looks_of_pairs(cells), set[str]()

    def file_of(name: str) -> Path:
        found = re.sub(r"[^A-Za-z0-9]+", "_", name)
        while found in taken:
            found += "_2"
        taken.add(found)
        return folder / f"{found}{suffix}"

    for number, (measure, group) in enumerate(by_measure(cells).items()):
        if any(cell.results for cell in group):
            draw_comparison(group, file_of(f"comparison_{measure}" if number else "comparison"), looks)
        settings = dict.fromkeys(cell.setting for cell in group)
        for setting in settings if len(settings) > 1 else ():
            runs = [(cell.method, cell.results) for cell in group if cell.setting == setting and cell.results]
            if len(runs) > 1 and any(has_courses(results) for _, results in runs):
                plot_comparison(runs, file_of(f"comparison_{setting}"), looks)


def draw_comparison(
    cells: Sequence[PairResults], path: str | os.PathLike[str], looks: Mapping[str, Look] | None = None
) -> None:
    """Write `comparison_of` to a file; see there for the arguments and the errors."""
    save_figure(comparison_of(cells, looks), path)


def comparison_of(cells: Sequence[PairResults], looks: Mapping[str, Look] | None = None) -> Figure:
    """Draw several methods under several settings; draw bars for a single setting or a single method.

    Above is a heat map of the mean objective of each pair, with its deviation over seeds. A pair that does not apply is
    grey. A failed pair is hatched; a star marks a pair with some failed seeds. Of up to six settings, a panel below
    has the objective against the FLOPs for all uses, and the Pareto front of the two.

    Args:
        cells: The pairs that apply; all results are of one measure.
        looks: The look of each method, the same in all figures of a comparison (default: by the methods here).

    Raises:
        ValueError: If there are no results.
    """
    settings, methods = list(dict.fromkeys(cell.setting for cell in cells)), methods_in_order(cells)
    if len(settings) == 1 or len(methods) == 1:
        names = [cell.method if len(settings) == 1 else cell.setting for cell in cells]
        looks = looks or looks_of_pairs(cells) if len(settings) == 1 else looks_of(settings)
        runs = [(name, cell.results) for name, cell in zip(names, cells, strict=True) if cell.results]
        return ranking_of(runs, looks)
    if not any(cell.results for cell in cells):
        raise ValueError("There are no results to compare; pass at least one cell with its runs.")
    panels = {
        setting: runs
        for setting in settings
        if has_trade_off(runs := [(c.method, c.results) for c in cells if c.setting == setting and c.results])
    }
    if len(panels) > _MAX_PANELS:
        panels = {}  # too small to be read; each setting has a picture of its own
    looks = looks or looks_of_pairs(cells)
    several = any(len(cell.results) > 1 for cell in cells)
    row = _CELL[1] + several * _DEVIATION
    names = [wrapped(method) for method in methods]
    width = 0.085 * width_of(map(wrapped, settings)) + _CELL[0] * len(methods) + 1.0
    height = 0.075 * width_of(names) + 0.12 * height_of(names) + row * len(settings) + 0.5
    rows = -(-len(panels) // min(_MAX_PANELS, round(max(width / _PANEL[0], 3))))
    columns = -(-len(panels) // max(rows, 1))
    width = max(width, columns * _PANEL[0])
    figure = new_figure(width, height + rows * _PANEL[1] + 0.4)
    parts = figure.add_gridspec(2 if panels else 1, 1, height_ratios=[height, rows * _PANEL[1]][: 1 + bool(panels)])
    _draw_map(figure.add_subfigure(parts[0]).add_subplot(), cells, settings, methods)
    lower = figure.add_subfigure(parts[1]) if panels else None
    for number, (setting, runs) in enumerate(panels.items(), start=1):
        assert lower is not None
        axes = lower.add_subplot(rows, columns, number)
        axes.set_title(setting, fontsize=9)
        draw_trade_off(axes, runs, (width / columns - _AROUND[0], _PANEL[1] - _AROUND[1]), looks)
        _share_labels(axes, number, columns, len(panels))
    if lower is not None:
        measure = next(cell.results[0].measure for cell in cells if cell.results)
        front = f"line: the Pareto front, which no method beats in both {measure.name} and cost"
        lower.suptitle(front, fontsize=10)
    title_comparison(figure, [run for cell in cells if cell.ran_under is None for run in cell.results])
    return figure


def _draw_map(axes: Axes, cells: Sequence[PairResults], settings: list[str], methods: list[str]) -> None:
    done = [cell for cell in cells if cell.results]
    measure, lower = done[0].results[0].measure, done[0].results[0].lower_is_better
    means = {(c.setting, c.method): measure.factor * float(np.mean([r.objective for r in c.results])) for c in done}
    values = np.array([[means.get((setting, method), np.nan) for method in methods] for setting in settings])
    limits = (0.0, measure.factor) if measure.unit == "%" else (float(np.nanmin(values)), float(np.nanmax(values)))
    norm = Normalize(*limits)
    # Dark is bad, light is good, whichever way the measure goes.
    colours = colormaps["cividis_r" if lower else "cividis"].with_extremes(bad=_NOT_APPLICABLE)
    image = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto")
    decimals = min(measure.decimals, max(0, _DIGITS - len(f"{np.nanmax(values):.0f}")))
    for cell in cells:
        row, column = settings.index(cell.setting), methods.index(cell.method)
        value = values[row, column]
        if not cell.results:
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fc="white", ec=_FAILED, hatch="////", linewidth=0))
            continue
        light = sum(colours(norm(value))[:3]) / 3 > 0.45
        axes.text(
            column,
            row,
            f"{value:.{decimals}f}{PARTLY if cell.failure else ''}{_deviation(cell, decimals)}",
            ha="center",
            va="center",
            fontsize=8,
            color="black" if light else "white",
        )
    axes.set_xticks(range(len(methods)), map(wrapped, methods), rotation=40, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(settings)), map(wrapped, settings))
    axes.set_xticks(np.arange(len(methods) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(settings) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="both", length=0, labelsize=9)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, label=f"average {measure.label}", fraction=0.03, pad=0.01)
    bar.outline.set_linewidth(0)
    _add_key(axes, cells, complete=len(cells) == values.size)


def _deviation(cell: PairResults, decimals: int) -> str:
    """The standard deviation over seeds, as a second line of a cell; nothing of a single run."""
    if len(cell.results) < 2:
        return ""
    values = cell.results[0].measure.factor * np.array([run.objective for run in cell.results])
    return f"\n± {values.std(ddof=1):.{decimals}f}"


def _add_key(axes: Axes, cells: Sequence[PairResults], complete: bool) -> None:
    """Say what grey, hatches and stars mean, below the map, where there are any."""
    keys: list[Patch | Line2D] = [] if complete else [Patch(facecolor=_NOT_APPLICABLE, label="does not apply")]
    if any(cell.failure and not cell.results for cell in cells):
        keys.append(Patch(facecolor="white", edgecolor=_FAILED, hatch="////", linewidth=0, label="failed"))
    if any(cell.failure and cell.results for cell in cells):
        star = Line2D([], [], linestyle="none", marker=f"${PARTLY}$", color="black", label=SOME_FAILED)
        keys.append(star)
    if keys:
        axes.legend(
            handles=keys, loc="upper left", bbox_to_anchor=(0, 0), ncols=3, frameon=False, fontsize=8, borderaxespad=0.3
        )


def _share_labels(axes: Axes, number: int, columns: int, panels: int) -> None:
    """Name the axes once for each column and row of panels."""
    axes.tick_params(labelsize=7.5)
    if (number - 1) % columns:
        axes.set_ylabel("")
    if number + columns <= panels:
        axes.set_xlabel("")

"""One panel: how good methods are against how much they compute, and which of them are worth it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation, Transform

from redwood.engine.figures.drawing import BEHIND_TEXT, Look, height_of, spread, style_axes, width_of
from redwood.engine.names import wrapped
from redwood.settings.scores.measure import Measure
from redwood.settings.scores.pareto import front
from redwood.settings.scores.results import Results

_FRONT, _OTHER = "#404040", "#8c8c8c"
_FONT_SIZE = 7.5
_LETTER_WIDTH, _LINE_HEIGHT = 0.06, 0.135  # inches at this size
_MAX_NAMED = 12  # methods, all of which have their names in a small panel
_NAME_SHARE = 0.38  # of the panel's width, at most, that a name takes up
_MAX_TICKS = 5
_TICK_WIDTH = 0.4  # inches that the number at a tick takes up
_MARGIN = 0.06  # of the panel, beyond the outermost points
# What the axis of values spans at least, so that noise does not look like a difference: points of percent, or a share.
_MIN_SPAN, _MIN_SHARE = 10.0, 0.1


@dataclass(frozen=True)
class _Point:
    """One method: its name, as it is written, mean cost and mean value; `x` is where a log axis has the cost."""

    label: str
    text: str
    x: float
    y: float


def has_trade_off(runs: Sequence[tuple[str, Sequence[Results]]]) -> bool:
    """True if there is something to draw: at least three methods, as a table shows two, and FLOPs of one of them."""
    return len(runs) > 2 and any(run.cost.total_flops > 0 for _, group in runs for run in group)


def draw_trade_off(
    axes: Axes,
    runs: Sequence[tuple[str, Sequence[Results]]],
    size: tuple[float, float],
    looks: Mapping[str, Look],
    name_all: bool = False,
) -> None:
    """Draw the means over seeds of objective and total FLOPs, on a log axis, and their Pareto front as a staircase.

    The FLOPs of trials that chose a method's options count, once. Upper bounds are not on the front. Methods on the
    front are named; the others as well where they are few. A cost of 0, which has no logarithm, stands left of all
    others.

    Args:
        axes: Where to draw.
        runs: Label and runs, one per seed, of each method under one setting; `has_trade_off` of them.
        size: Width and height of the panel in inches, roughly.
        looks: How each label looks.
        name_all: Whether all methods are named, however many there are.
    """
    measure, lower = runs[0][1][0].measure, runs[0][1][0].lower_is_better
    points, zero = _points(runs, measure.factor, most=int(_NAME_SHARE * size[0] / _LETTER_WIDTH))
    compared = [point for point in points if not looks[point.label].is_bound] or points
    chosen = [compared[i] for i in front([(point.x, point.y if lower else -point.y) for point in compared])]
    others = [point for point in points if point not in chosen]
    for point in [*others, *chosen]:
        look = looks[point.label]
        axes.scatter(point.x, point.y, color=look.colour, marker=look.marker, s=18, zorder=4, linewidths=0)
    named_others = others if name_all or len(runs) <= _MAX_NAMED else []
    axes.set_xscale("log")
    highest = _scale_costs(axes, points, zero, size[0], chosen, named_others)
    bottom, top = _scale_values(axes, points, measure)
    axes.step(
        [*(point.x for point in chosen), highest],
        [*(point.y for point in chosen), chosen[-1].y],
        where="post",
        color=_FRONT,
        lw=1.1,
        zorder=2,
    )
    gap = _LINE_HEIGHT / size[1] * (top - bottom)
    _name(axes, chosen, gap, (bottom, top), left=True)
    _name(axes, named_others, gap, (bottom, top), left=False)
    tuned = any(run.cost.tuning is not None for _, group in runs for run in group)
    style_axes(axes, "total FLOPs, with tuning" if tuned else "total FLOPs", f"average {measure.label}")


def _points(
    runs: Sequence[tuple[str, Sequence[Results]]], factor: float, most: int
) -> tuple[list[_Point], float | None]:
    """The points, with names of at most `most` letters a line, and where a cost of 0 stands if one has it."""
    costs = [float(np.mean([run.cost.flops_with_tuning for run in group])) for _, group in runs]
    least = min(cost for cost in costs if cost > 0)
    zero = 10.0 ** (math.floor(math.log10(least)) - 1)
    points = [
        _Point(label, wrapped(label, most), cost or zero, factor * float(np.mean([run.objective for run in group])))
        for (label, group), cost in zip(runs, costs, strict=True)
    ]
    return points, zero if 0 in costs else None


def _scale_costs(
    axes: Axes, points: list[_Point], zero: float | None, width: float, left: list[_Point], right: list[_Point]
) -> float:
    """Set ticks, and limits that leave room for the names on both sides; return the upper one."""
    low, high = min(point.x for point in points), max(point.x for point in points)
    if high < 4 * low:
        middle = math.sqrt(low * high)
        low, high = middle / 2, 2 * middle
    decades = math.log10(high / low)
    places = {point: math.log10(point.x / low) / decades for point in points}
    after = max([_MARGIN, *(_room(point, width, 1 - places[point], 0.5) for point in right)])
    before = max([_MARGIN, *(_room(point, width, places[point], 1 - after) for point in left)])
    scale = decades / (1 - before - after)
    lowest, highest = low / 10 ** (before * scale), high * 10 ** (after * scale)
    axes.set_xlim(lowest, highest)
    _set_ticks(
        axes, [tick for tick in _round_numbers(lowest, highest) if zero is None or tick > zero], zero, scale / width
    )
    return highest


def _set_ticks(axes: Axes, ticks: list[float], zero: float | None, decades_per_inch: float) -> None:
    """Set the ticks that do not overlap, and one for a cost of 0 at its position `zero`."""
    formatter = EngFormatter(sep="")
    kept = {} if zero is None else {zero: "0"}
    for tick in ticks:
        if not kept or math.log10(tick / max(kept)) > _TICK_WIDTH * decades_per_inch:
            kept[tick] = formatter(tick)
    axes.set_xticks(list(kept), list(kept.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def _room(point: _Point, width: float, place: float, rest: float) -> float:
    """The share of the panel's width that has to be free beyond all points for the name of one of them.

    Args:
        point: It has its name on that side.
        width: Of the panel, in inches.
        place: How far it is from the outermost point on that side, as a share of what the points span.
        rest: The share of the panel that is left for the points and this side.
    """
    wanted = (width_of([point.text]) * _LETTER_WIDTH + 0.15) / width
    return min((wanted - place * rest) / max(1 - place, 0.05), 0.45)


def _round_numbers(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, few of them; multiples of these, too, where there are hardly any."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 2, 3, 5, 7)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if 0.999 * low <= tick <= 1.001 * high]
        if len(ticks) > 1:
            break
    return ticks[:: -(-len(ticks) // _MAX_TICKS)] if ticks else []


def _scale_values(axes: Axes, points: list[_Point], measure: Measure) -> tuple[float, float]:
    low, high = min(point.y for point in points), max(point.y for point in points)
    least = _MIN_SPAN if measure.unit == "%" else _MIN_SHARE * max(abs(low), abs(high)) or 1.0
    margin = max(0.08 * (high - low), (least - (high - low)) / 2)
    axes.set_ylim(low - margin, high + margin)
    return low - margin, high + margin


def _name(axes: Axes, points: list[_Point], gap: float, limits: tuple[float, float], left: bool) -> None:
    """Write names beside points, moved apart where they would overlap."""
    ordered = sorted(points, key=lambda point: point.y)
    lines = height_of([point.text for point in points] or [""])
    gap = min(lines * gap, (limits[1] - limits[0]) / max(len(ordered), 1))
    heights = spread([point.y for point in ordered], gap, limits[0] + gap / 2, limits[1] - gap / 2)
    for point, height in zip(ordered, heights, strict=True):
        moved = abs(height - point.y) > gap / 2
        axes.annotate(
            point.text,
            (point.x, point.y),
            xytext=(point.x, height),
            textcoords=_shifted(axes, -0.09 if left else 0.09),
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": _OTHER, "relpos": (float(left), 0.5)}
            if moved
            else None,
            ha="right" if left else "left",
            va="center",
            fontsize=_FONT_SIZE,
            color="black" if left else "#555555",
            bbox=BEHIND_TEXT,  # the front passes behind
            annotation_clip=False,
        )


def _shifted(axes: Axes, inches: float) -> Transform:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(inches, 0, figure.dpi_scale_trans)

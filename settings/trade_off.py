"""One panel: how good methods are against how much they compute, and which of them are worth it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from redwood.settings.drawing import spread, style_axes
from redwood.settings.pareto import front
from redwood.settings.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

_FRONT, _OTHER = "#0072B2", "#8c8c8c"
_FONT_SIZE = 7.5
_LETTER_WIDTH, _LINE_HEIGHT = 0.06, 0.135  # inches at this size
_MAX_NAMED = 12  # methods, all of which have their names in a small panel
_MAX_TICKS = 5
_MARGIN = 0.06  # of the panel, beyond the outermost points


@dataclass(frozen=True)
class _Point:
    """One method: its mean cost and its mean value, as it is shown; `x` is where a log axis has the cost."""

    label: str
    x: float
    y: float


def has_trade_off(runs: Sequence[tuple[str, Sequence[Results]]]) -> bool:
    """Whether there is something to draw: several methods, of which one has counted what it computed."""
    return len(runs) > 1 and any(run.cost.training_flops > 0 for _, group in runs for run in group)


def draw_trade_off(
    axes: "Axes",
    runs: Sequence[tuple[str, Sequence[Results]]],
    size: tuple[float, float],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Draw the means over seeds of objective and training FLOPs, on a log axis, and their Pareto front as a staircase.

    Methods on the front are named; the others as well where they have colours or are few. A cost of 0, which has no
    logarithm, stands left of all others.

    Args:
        axes: Where to draw.
        runs: Label and runs, one per seed, of each method under one setting; `has_trade_off` of them.
        size: Width and height of the panel in inches, roughly.
        colours: Colour of each label; by default those on the front have one colour, and the others another.
    """
    measure, lower = runs[0][1][0].measure, runs[0][1][0].lower_is_better
    points, zero = _points(runs, measure.factor)
    chosen = [points[i] for i in front([(point.x, point.y if lower else -point.y) for point in points])]
    others = [point for point in points if point not in chosen]
    for group, default in ((others, _OTHER), (chosen, _FRONT)):
        shades = [default if colours is None else colours[point.label] for point in group]
        axes.scatter([p.x for p in group], [p.y for p in group], c=shades, s=16, zorder=3, linewidths=0)
    named_others = others if colours is not None or len(runs) <= _MAX_NAMED else []
    axes.set_xscale("log")
    highest = _scale_costs(axes, points, zero, size[0], chosen, named_others)
    bottom, top = _scale_values(axes, points)
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
    style_axes(axes, "training FLOPs", f"average {measure.label}")


def _points(runs: Sequence[tuple[str, Sequence[Results]]], factor: float) -> tuple[list[_Point], float | None]:
    """The points, and where a cost of 0 stands if one has it."""
    costs = [float(np.mean([run.cost.training_flops for run in group])) for _, group in runs]
    least = min(cost for cost in costs if cost > 0)
    zero = 10.0 ** (math.floor(math.log10(least)) - 1)
    points = [
        _Point(label, cost or zero, factor * float(np.mean([run.objective for run in group])))
        for (label, group), cost in zip(runs, costs, strict=True)
    ]
    return points, zero if 0 in costs else None


def _scale_costs(
    axes: "Axes", points: list[_Point], zero: float | None, width: float, left: list[_Point], right: list[_Point]
) -> float:
    """Set ticks, and limits that leave room for the names on both sides; return the upper one."""
    from matplotlib.ticker import EngFormatter, NullLocator

    low, high = min(point.x for point in points), max(point.x for point in points)
    if high < 4 * low:
        middle = math.sqrt(low * high)
        low, high = middle / 2, 2 * middle
    ticks = [tick for tick in _round_numbers(low, high) if zero is None or tick > zero]
    formatter = EngFormatter(sep="")
    names = [formatter(tick) for tick in ticks]
    if zero is not None:
        ticks, names = [zero, *ticks], ["0", *names]
    axes.set_xticks(ticks, names)
    axes.xaxis.set_minor_locator(NullLocator())
    decades = math.log10(high / low)
    places = {point: math.log10(point.x / low) / decades for point in points}
    after = max([_MARGIN, *(_room(point, width, 1 - places[point], 0.5) for point in right)])
    before = max([_MARGIN, *(_room(point, width, places[point], 1 - after) for point in left)])
    scale = decades / (1 - before - after)
    highest: float = high * 10 ** (after * scale)
    axes.set_xlim(low / 10 ** (before * scale), highest)
    return highest


def _room(point: _Point, width: float, place: float, rest: float) -> float:
    """The share of the panel's width that has to be free beyond all points for the name of one of them.

    Args:
        point: It has its name on that side.
        width: Of the panel, in inches.
        place: How far it is from the outermost point on that side, as a share of what the points span.
        rest: The share of the panel that is left for the points and this side.
    """
    wanted = (len(point.label) * _LETTER_WIDTH + 0.15) / width
    return min((wanted - place * rest) / max(1 - place, 0.05), 0.45)


def _round_numbers(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, few of them; 2 and 5 times these, too, where there are hardly any."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
        ticks = [tick for tick in ticks if 0.999 * low <= tick <= 1.001 * high]
        if len(ticks) > 1:
            break
    return ticks[:: -(-len(ticks) // _MAX_TICKS)] if ticks else []


def _scale_values(axes: "Axes", points: list[_Point]) -> tuple[float, float]:
    low, high = min(point.y for point in points), max(point.y for point in points)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)
    return low - margin, high + margin


def _name(axes: "Axes", points: list[_Point], gap: float, limits: tuple[float, float], left: bool) -> None:
    """Write names beside points, moved apart where they would overlap."""
    ordered = sorted(points, key=lambda point: point.y)
    gap = min(gap, (limits[1] - limits[0]) / max(len(ordered), 1))
    heights = spread([point.y for point in ordered], gap, limits[0] + gap / 2, limits[1] - gap / 2)
    for point, height in zip(ordered, heights, strict=True):
        moved = abs(height - point.y) > gap / 2
        axes.annotate(
            point.label,
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
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.4},
            annotation_clip=False,
        )


def _shifted(axes: "Axes", inches: float) -> "Transform":
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure(root=True)
    assert figure is not None
    return axes.transData + ScaledTranslation(inches, 0, figure.dpi_scale_trans)

"""The picture of a sweep: the score of each trial in the order of the trials, and against each option."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes
from redwood.engine.names import wrapped
from redwood.settings.scores.measure import Measure

_PANELS_A_ROW = 3
_PANEL = (3.2, 2.5)  # inches
_TICKS = 5  # at most, on an axis of numbers
_CHOICES, _LETTERS = 12, 34  # at most, on an axis of choices, and letters that fit side by side
_MARGIN = 1.25  # factor between the outermost values and the ends of an axis of logarithms
_DECADES = 2  # fewer powers of ten need ticks between them


@dataclass(frozen=True)
class Point:
    """A complete trial.

    Attributes:
        number: Its number.
        parameters: The value of each option: a number, or a text.
        score: Its score.
    """

    number: int
    parameters: Mapping[str, float | str]
    score: float


def plot_sweep(
    points: Sequence[Point],
    best: int,
    measure: Measure,
    path: str | os.PathLike[str],
    *,
    on_logs: Sequence[str],
    choices: Mapping[str, Sequence[str]],
    lower_is_better: bool,
    title: str,
) -> None:
    """Draw the trials of a sweep.

    Args:
        points: The complete trials, at least one, in the order of their numbers.
        best: Number of the best one, which is marked.
        measure: The measure of the scores.
        path: File to write.
        on_logs: Options whose values are shown on an axis of logarithms.
        choices: The values of each option that has no range, in the order in which they are shown.
        lower_is_better: Whether the lower score is the better one.
        title: Written above.
    """
    names = list(points[0].parameters)
    columns = min(1 + len(names), _PANELS_A_ROW)
    rows = -(-(1 + len(names)) // columns)
    figure = new_figure(columns * _PANEL[0], rows * _PANEL[1] + 0.4, between=0.08)
    figure.suptitle(title, fontsize=11)
    scores = measure.factor * np.array([point.score for point in points])
    panels = [figure.add_subplot(rows, columns, 1 + number) for number in range(1 + len(names))]
    numbers = [point.number for point in points]
    _draw(panels[0], numbers, scores, numbers.index(best))
    panels[0].xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
    so_far = (np.minimum if lower_is_better else np.maximum).accumulate(scores)
    panels[0].step(numbers, so_far, where="post", color="black", linewidth=1)
    style_axes(panels[0], "trial", measure.label)
    for axes, name in zip(panels[1:], names, strict=True):
        values = [point.parameters[name] for point in points]
        places = [choices[name].index(str(value)) for value in values] if name in choices else values
        _draw(axes, places, scores, numbers.index(best))
        if name in choices:
            _name_choices(axes, choices[name])
        elif name in on_logs:
            _mark_on_logs(axes, places)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(_TICKS))
        style_axes(axes, name, measure.label)
    save_figure(figure, path)


def _draw(axes: Axes, places: Sequence[float | str], scores: np.ndarray, best: int) -> None:
    axes.scatter(places, scores, s=18, color=COLOURS[0], alpha=0.7, linewidths=0)
    axes.scatter([places[best]], [scores[best]], s=60, facecolors="none", edgecolors=COLOURS[1], linewidths=1.5)


def _name_choices(axes: Axes, values: Sequence[str]) -> None:
    """Put choices on the horizontal axis, at most `_CHOICES` of them, turned if they would run into each other."""
    shown = range(0, len(values), -(-len(values) // _CHOICES))
    labels = [wrapped(values[place]) for place in shown]
    axes.set_xticks(shown, labels)
    axes.set_xlim(-0.5, len(values) - 0.5)
    if sum(len(label) + 2 for label in labels) > _LETTERS:
        for text in axes.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def _mark_on_logs(axes: Axes, places: Sequence[float | str]) -> None:
    """An axis of logarithms with few ticks: powers of ten; on a short one 3, or 2 and 5, times these, too."""
    axes.set_xscale("log")
    values = np.array(places, dtype=np.float64)
    axes.set_xlim(values.min() / _MARGIN, values.max() * _MARGIN)
    decades = np.log10(values.max() / values.min() * _MARGIN**2)
    subs = (1.0,) if decades >= _DECADES else (1.0, 3.0) if decades >= 1 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=_TICKS))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())

"""The picture of a sweep: the score of each trial in the order of the trials, and against each option."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes
from redwood.settings.scores.measure import Measure

_PANELS_A_ROW = 3
_PANEL = (3.2, 2.5)  # inches


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
    _draw(panels[0], [point.number for point in points], scores, points, best)
    so_far = (np.minimum if lower_is_better else np.maximum).accumulate(scores)
    panels[0].step([point.number for point in points], so_far, where="post", color="black", linewidth=1)
    style_axes(panels[0], "trial", measure.label)
    for axes, name in zip(panels[1:], names, strict=True):
        _draw(axes, [point.parameters[name] for point in points], scores, points, best)
        if name in on_logs:
            axes.set_xscale("log")
        style_axes(axes, name, measure.label)
    save_figure(figure, path)


def _draw(axes: Axes, places: Sequence[float | str], scores: np.ndarray, points: Sequence[Point], best: int) -> None:
    x = list(map(str, places)) if any(isinstance(place, str) for place in places) else places
    axes.scatter(x, scores, s=18, color=COLOURS[0], alpha=0.7, linewidths=0)
    index = next(index for index, point in enumerate(points) if point.number == best)
    axes.scatter([x[index]], [scores[index]], s=60, facecolors="none", edgecolors=COLOURS[1], linewidths=1.5)

"""Accuracy and loss of each slice of the test samples, after the last phase."""

import os

import numpy as np

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes, title_run
from redwood.settings.scores.measure import ACCURACY
from redwood.settings.scores.results import Results

_MAX_NAMED = 30


def plot_slices(results: Results, path: str | os.PathLike[str]) -> None:
    """Draw a bar for each slice; a line marks the mean over the slices, which the equalised error rates refer to.

    Args:
        results: A run with scores by slice.
        path: File to write.
    """
    slices = results.slices
    assert slices is not None
    panels = {"accuracy (%)": [None if value is None else ACCURACY.factor * value for value in slices.accuracy]}
    if any(value is not None for value in slices.loss):
        panels["loss"] = slices.loss
    figure = new_figure(max(4.4, 0.32 * min(len(slices.names), _MAX_NAMED) + 1.5), 2.2 * len(panels) + 0.8)
    for number, (label, values) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, number + 1)
        heights = np.array(values, dtype=np.float64)
        axes.bar(np.arange(len(heights)), heights, color=COLOURS[number])
        axes.axhline(float(np.nanmean(heights)), color="black", lw=1.0, ls="--")
        style_axes(axes, slices.by if number == len(panels) - 1 else "", label)
        few = len(heights) <= _MAX_NAMED
        axes.set_xticks(np.arange(len(heights)) if few else [], list(slices.names) if few else [], rotation=45)
    title_run(figure, results, "Scores of each slice")
    save_figure(figure, path)

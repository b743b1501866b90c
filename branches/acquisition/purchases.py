"""Draw the samples bought of each slice in each round, and the resulting losses."""

import os

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from redwood.branches.acquisition.results import AcquisitionResults
from redwood.engine.figures.drawing import label_ends, new_figure, save_figure, style_axes, title_run
from redwood.settings.scores.measure import ACCURACY

_MAX_NAMED = 12


def plot_purchases(results: AcquisitionResults, path: str | os.PathLike[str]) -> None:
    """Draw, over the rounds, the samples and the loss of each slice; the error rate where there is no loss.

    Args:
        results: A run with at least one evaluated phase.
        path: File to write.
    """
    figure = new_figure(6.4, 6.4)
    _draw(figure.add_subplot(2, 1, 1), results, np.array(results.slice_sizes, dtype=np.float64), "training samples")
    losses = np.array(results.slice_losses, dtype=np.float64)
    if np.isfinite(losses).all():
        _draw(figure.add_subplot(2, 1, 2), results, losses, "loss on test samples")
    else:
        _draw(figure.add_subplot(2, 1, 2), results, ACCURACY.factor * (1 - results.learned), "error rate (%)")
    title_run(figure, results, "Slices as samples are bought")
    save_figure(figure, path)


def _draw(axes: Axes, results: AcquisitionResults, values: NDArray[np.float64], label: str) -> None:
    rounds, slices = values.shape
    colours = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0.0, 0.85, slices))]
    for number in range(slices):
        axes.plot(range(rounds), values[:, number], color=colours[number], marker="o", markersize=3.5, lw=1.2)
    average = values.mean(1)
    axes.plot(range(rounds), average, color="black", marker="o", markersize=4.5, lw=2.6)
    top = 1.06 * float(values.max()) or 1.0
    axes.set_ylim(0, top)
    axes.set_xticks(range(rounds))
    style_axes(axes, "round", label)
    ends = [(rounds - 1, float(average[-1]), "mean", "black")]
    if slices <= _MAX_NAMED:
        ends += [
            (rounds - 1, float(values[-1, number]), results.slice_names[number], colours[number])
            for number in range(slices)
        ]
    label_ends(axes, ends, height=2.4, limits=(0, top))

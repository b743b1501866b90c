"""Pictures of an OSAKA run: accuracy by steps since the context switched, and while the stream runs."""

import os

import numpy as np
from matplotlib.axes import Axes

from redwood.branches.osaka.results import OsakaResults
from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, scale_of, style_axes, title_run

FEWEST_STEPS = 3
"""A point is the mean of so many steps at least: one step of few samples is mostly noise."""
_ROOM = 1.04


def plot_since_switch(results: OsakaResults, path: str | os.PathLike[str]) -> None:
    """Draw the accuracy on each domain by steps since the switch; and below, along the stream and cumulative.

    Args:
        results: A complete run.
        path: File to write.
    """
    figure = new_figure(7.4, 7.2)
    _draw_since_switch(figure.add_subplot(2, 1, 1), results)
    _draw_running(figure.add_subplot(2, 1, 2), results)
    title_run(figure, results, "Accuracy before the labels came")
    save_figure(figure, path)


def _draw_since_switch(axes: Axes, results: OsakaResults) -> None:
    measure = results.measure
    for number, name in enumerate(results.domains):
        accuracy = np.array(results.since_switch["accuracy"][number], dtype=np.float64)
        steps = np.array(results.since_switch["steps"][number])
        shown = np.flatnonzero(steps >= min(FEWEST_STEPS, steps.max(initial=0)))
        shown = shown[steps[shown] > 0]
        if len(shown):
            colour = COLOURS[number % len(COLOURS)]
            values = measure.factor * accuracy[shown]
            axes.plot(shown, values, color=colour, marker="o", markersize=2.5, lw=1.3, label=name)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_ylim(*scale_of(measure, np.zeros(1), _ROOM))
    style_axes(axes, f"steps since the switch (at least {FEWEST_STEPS} visits each)", measure.label)


def _draw_running(axes: Axes, results: OsakaResults) -> None:
    measure = results.measure
    samples, values = np.array(results.online_curve, dtype=np.float64).T
    sizes = np.diff(samples, prepend=0.0)
    axes.plot(samples, measure.factor * values, color=COLOURS[0], lw=1.3, label="since the point before")
    cumulative = measure.factor * np.cumsum(sizes * values) / samples
    label = f"cumulative, in the end {cumulative[-1]:.{measure.decimals}f}"
    axes.plot(samples, cumulative, color="black", lw=2.2, label=label)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_xlim(0, samples[-1])
    axes.set_ylim(*scale_of(measure, np.zeros(1), _ROOM))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    style_axes(axes, "samples of the stream", f"online {measure.label}")

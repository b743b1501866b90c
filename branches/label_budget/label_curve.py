"""Draw the accuracy of a run against the number of labels that it has asked for."""

import os

import numpy as np

from redwood.branches.label_budget.results import LabelBudgetResults
from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, scale_of, style_axes, title_run

_ROOM = 1.04  # for markers at the end of a scale


def plot_label_curve(results: LabelBudgetResults, path: str | os.PathLike[str]) -> None:
    """Draw the online accuracy, and the average accuracy on the tasks so far after each phase, against the labels used.

    Args:
        results: A run under a setting that gives labels on request.
        path: File to write.
    """
    measure = results.measure
    ends = np.cumsum([0, *(phase[-1] if phase else 0 for phase in results.labels_used)])
    used = np.concatenate([start + np.array(row) for start, row in zip(ends, results.labels_used, strict=False)])
    online = measure.factor * np.array([value for _, value in results.online_curve])
    average = measure.factor * results.average_curve
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    axes.plot(used, online, color=COLOURS[0], lw=1.3, label=f"online {measure.online_label}, since the point before")
    axes.plot(ends[1:], average, color="black", marker="o", markersize=4.5, lw=1.8, label="at test, on tasks so far")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.1, fontsize=9)
    axes.set_ylim(*scale_of(measure, np.concatenate([online, average]), _ROOM))
    axes.set_xlim(0, _ROOM * max(1, ends[-1]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    style_axes(axes, "labels used", measure.label)
    title_run(figure, results, f"{measure.title} against labels used")
    save_figure(figure, path)

"""Scores of label sets after each phase, by how frequent the labels are in training."""

import os

import numpy as np

from redwood.engine.figures.drawing import (
    COLOURS,
    PERCENT_LIMITS,
    name_phases,
    new_figure,
    save_figure,
    style_axes,
    title_run,
)
from redwood.settings.scores.label_sets import ALL
from redwood.settings.scores.multi_label_results import MultiLabelResults

_PANELS = {"map": "mAP (%)", "cf1": "per-class F1 (%)", "of1": "overall F1 (%)"}


def plot_label_groups(results: MultiLabelResults, path: str | os.PathLike[str]) -> None:
    """Draw each score of all tested samples after each phase: a line for all labels, and one for each group.

    Args:
        results: A run with at least one evaluated phase.
        path: File to write.
    """
    figure = new_figure(10.0, 3.6)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    named = {ALL: "all labels"} | {
        group: f"{group} ({len(labels)})" for group, labels in results.label_groups.items() if labels
    }
    for axes, (score, label) in zip(panels, _PANELS.items(), strict=True):
        for group, name in named.items():
            values = [phase["tested"][score][group] for phase in results.label_scores]
            colour = "black" if group == ALL else COLOURS[list(named).index(group) - 1]
            heights = 100 * np.array(values, dtype=np.float64)
            axes.plot(range(len(heights)), heights, color=colour, marker="o", markersize=4, label=name)
        axes.set_ylim(*PERCENT_LIMITS)
        name_phases(axes.xaxis, results, results.num_phases)
        style_axes(axes, "trained up to task", label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(named), frameon=False)
    title_run(figure, results, "Scores of all tested samples by group of labels")
    save_figure(figure, path)

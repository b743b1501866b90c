"""The picture of a run: how often each member of the crowd has erred."""

from pathlib import Path

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes, title_run
from redwood_crowd.results import CrowdResults


def plot_wrong_labels(results: CrowdResults, path: Path) -> None:
    """Draw a bar for each member."""
    figure = new_figure(5.0, 3.2)
    axes = figure.add_subplot()
    axes.bar(range(len(results.wrong_labels)), [100 * share for share in results.wrong_labels], color=COLOURS[0])
    axes.set_xticks(range(len(results.wrong_labels)))
    style_axes(axes, "member of the crowd", "wrong labels (%)")
    title_run(figure, results, "Wrong labels of each member")
    save_figure(figure, path)

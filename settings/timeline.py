"""A picture of what happens at the same time: training steps, and what goes on behind them."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from redwood.settings.drawing import COLOURS, new_figure, save_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Span = Sequence[str | float]  # name, start and end in milliseconds

_TRAINING = {"step": "#d5d5d5", "wait": "#000000"}
_BEHIND = dict(zip(("insert", "counts", "plan", "gather", "exchange"), COLOURS, strict=False))
SHOWN_STEPS = 4


def plot_timeline(timeline: Sequence[Span], path: str | os.PathLike[str]) -> None:
    """Draw the last training steps of a worker, above what its background did meanwhile.

    Args:
        timeline: Spans as `cost.rehearsal["timeline"]` of results holds them.
        path: File to write.

    Raises:
        ValueError: If there is no whole step in it.
    """
    spans = [(str(name), float(start), float(end)) for name, start, end in timeline]
    steps = [span for span in spans if span[0] == "step"][-SHOWN_STEPS:]
    if not steps:
        raise ValueError("A time line needs at least one whole step.")
    zero, last = steps[0][1], steps[-1][2]
    shown = [(name, start - zero, end - zero) for name, start, end in spans if start < last and end > zero]
    figure = new_figure(8.0, 2.2)
    axes = figure.add_subplot()
    for number, (_, start, end) in enumerate(steps):
        axes.text((start + end) / 2 - zero, 1.4, f"step {number + 1}", ha="center", va="center", fontsize=9)
    _draw(axes, shown, _TRAINING, 1.0)
    _draw(axes, shown, _BEHIND, 0.0)
    style_axes(axes, "milliseconds", "")
    axes.set_xlim(0, last - zero)
    axes.set_ylim(-0.1, 1.9)
    axes.set_yticks([0.4, 1.4], ["in the background", "training"])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(_BEHIND) + 1, frameon=False, fontsize=9)
    save_figure(figure, path)


def _draw(axes: "Axes", spans: Sequence[tuple[str, float, float]], colours: dict[str, str], bottom: float) -> None:
    for name, colour in colours.items():
        bars = [(start, end - start) for what, start, end in spans if what == name]
        edge = {"edgecolor": "white", "linewidth": 1.5} if name == "step" else {"linewidth": 0}
        label = None if name == "step" else name
        axes.broken_barh(bars, (bottom, 0.8), facecolors=colour, label=label, **edge)

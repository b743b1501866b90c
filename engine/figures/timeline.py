"""The time line of asynchronous rehearsal: the last training steps, and the background work at the same time."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes

SHOWN_STEPS = 4
_STEP_COLOUR = "#d5d5d5"
# Bottom and height of the bars of training, of waiting inside them, and of the background.
_UPPER, _WITHIN, _LOWER = (1.0, 0.8), (1.0, 0.25), (0.0, 0.8)
_BEHIND = ("insert", "counts", "plan", "gather", "exchange")
_PARTS = {"wait": ("#000000", _WITHIN)} | {
    name: (colour, _LOWER) for name, colour in zip(_BEHIND, COLOURS, strict=False)
}
_NARROW = 0.08  # of the width: a step is too short to be numbered


class Span(NamedTuple):
    """Something that took a while.

    Attributes:
        name: What it was.
        start: When it began, in milliseconds.
        end: When it was over.
    """

    name: str
    start: float
    end: float


def plot_timeline(timeline: Sequence[Sequence[str | float]], path: str | os.PathLike[str]) -> None:
    """Draw the last training steps of a worker, above what its background did meanwhile.

    Args:
        timeline: Spans as `cost.rehearsal["timeline"]` of results holds them.
        path: File to write.

    Raises:
        ValueError: If there is no whole step in it.
    """
    spans = [Span(str(name), float(start), float(end)) for name, start, end in timeline]
    steps = _last_steps(spans)
    zero, width = steps[0].start, steps[-1].end - steps[0].start
    figure = new_figure(8.0, 2.2)
    axes = figure.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(-0.1, 1.9)
    _draw(axes, steps, zero, _UPPER, facecolors=_STEP_COLOUR, edgecolor="white", linewidth=1.5)
    for number, step in enumerate(steps):
        if step.end - step.start > _NARROW * width:
            middle = (step.start + step.end) / 2 - zero
            axes.text(middle, 1.52, f"step {number + 1}", ha="center", va="center", fontsize=9)
    for name, (colour, place) in _PARTS.items():
        shown = [span for span in spans if span.name == name and span.end > zero and span.start < zero + width]
        # The edge keeps what is shorter than a dot from vanishing.
        _draw(axes, shown, zero, place, facecolors=colour, edgecolor=colour, linewidth=0.5, label=name)
    style_axes(axes, "milliseconds", "")
    axes.set_yticks([0.4, 1.4], ["in the background", "training"])
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(_PARTS), frameon=False, fontsize=9)
    save_figure(figure, path)


def _last_steps(spans: Sequence[Span]) -> list[Span]:
    """The last steps without a pause between them, such as an evaluation."""
    steps = [span for span in spans if span.name == "step"]
    if not steps:
        raise ValueError("A time line needs at least one whole step.")
    first = len(steps) - 1
    while first and len(steps) - first < SHOWN_STEPS and steps[first - 1].end == steps[first].start:
        first -= 1
    return steps[first:]


def _draw(axes: Axes, spans: Sequence[Span], zero: float, place: tuple[float, float], **style: object) -> None:
    bars = [(span.start - zero, span.end - span.start) for span in spans]
    axes.broken_barh(bars, place, **style)  # type: ignore[arg-type]

"""Draw the lineage of networks: the parent of each, and the number of modules that it took over."""

import os
from collections.abc import Sequence

from matplotlib.axes import Axes

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure

# Inches: a row, the letter of a label, how far a child stands right of its parent, and the deepest network of the root.
_ROW, _LETTER, _INDENT, _MAX_DEPTH = 0.24, 0.068, 0.6, 24.0
_LONGEST_NAME = 48
_EDGE = "#999999"


def plot_lineage(
    names: Sequence[str],
    parents: Sequence[int | None],
    labels: Sequence[str],
    reused: Sequence[int],
    path: str | os.PathLike[str],
) -> None:
    """Draw networks as a forest that grows to the right: one row each, and a number of modules on each edge.

    Args:
        names: Name of each network, such as its task; children follow their parent.
        parents: Place of each network's parent in `names`; None for a root.
        labels: A text behind each name, such as an accuracy.
        reused: How many modules each network took over from its parent.
        path: File to write.

    Raises:
        ValueError: If there are no networks, or a parent stands behind its child.
    """
    depths: list[int] = []
    for place, parent in enumerate(parents):
        if parent is not None and parent >= place:
            raise ValueError(f"Network {place} stands before its parent {parent}; sort them by their lineage.")
        depths.append(0 if parent is None else depths[parent] + 1)
    if not depths:
        raise ValueError("There are no networks to draw; pass at least one.")
    texts = [_one_line(f"{_shortened(name)}   {label}") for name, label in zip(names, labels, strict=True)]
    indent = min(_INDENT, _MAX_DEPTH / max(1, *depths))
    width = max(depth * indent + _LETTER * len(text) for depth, text in zip(depths, texts, strict=True)) + 0.2
    height = _ROW * len(names)
    figure = new_figure(width, height + 0.5)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_xlim(-0.1, width - 0.1)
    axes.set_ylim(height - _ROW / 2, -_ROW / 2)
    for place, parent in enumerate(parents):
        x, y = depths[place] * indent, place * _ROW
        if parent is not None:
            _draw_edge(axes, (x - indent, parent * _ROW), (x, y), reused[place])
        axes.plot([x], [y], marker="o", markersize=6, color=COLOURS[0], markerfacecolor=_face(parent), zorder=3)
        axes.text(x + 0.1, y, texts[place], va="center", fontsize=9, parse_math=False)
    figure.suptitle(_title(parents), x=0.01, ha="left", fontsize=10)
    save_figure(figure, path)


def _draw_edge(axes: Axes, parent: tuple[float, float], child: tuple[float, float], reused: int) -> None:
    """Draw an edge down from the parent and then right to the child."""
    axes.plot([parent[0], parent[0], child[0]], [parent[1], child[1], child[1]], color=_EDGE, lw=1.0, zorder=1)
    axes.text(
        (parent[0] + child[0]) / 2 - 0.02,
        child[1],
        str(reused),
        ha="center",
        va="center",
        fontsize=7.5,
        zorder=2,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


def _face(parent: int | None) -> str:
    return "white" if parent is None else COLOURS[0]


def _title(parents: Sequence[int | None]) -> str:
    edges = sum(parent is not None for parent in parents)
    networks = f"{len(parents)} network{'s' if len(parents) > 1 else ''}"
    return f"{networks}; on an edge: modules taken over" if edges else f"{networks}, each made from none"


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text).rstrip()

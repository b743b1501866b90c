"""Helpers for the figures of results: figures without pyplot, plain axes, and labels that do not overlap.

They choose no back end, so that figures can be drawn anywhere. They change settings of matplotlib only while they write
a file.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any
from zlib import crc32

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from redwood.core.files import replacing
from redwood.engine.names import has_short_names, task_label, title_name
from redwood.engine.pair_results import PairResults
from redwood.settings.scores.measure import Measure
from redwood.settings.scores.results import Results

# Okabe & Ito's colours, which people with any colour vision can tell apart. Black is kept for averages. Their yellow is
# darkened, as it would be hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A7A00")
PERCENT_LIMITS = (0.0, 104.0)  # room for markers at 100 %
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # of texts that lines pass behind
_LINE_HEIGHT = 0.19  # inches that a label of 9 points takes up
_GREY = "#555555"
MAX_DESCRIBED_TASKS = 10
_NAME_LENGTH = 70
_LEVEL_LETTERS = 3  # longer names below an axis are turned
_DPI, _MARGIN = 160, 0.1  # of files; inches around all that is drawn
_MAX_POINTS = 4000  # of the lines and points of a panel; those of more are pixels in SVG, too
# Nothing that differs from one day or version to another, and no addresses.
_NO_METADATA: dict[str, dict[str, str | None]] = {
    ".svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    ".pdf": {"CreationDate": None},
}


_kept: ContextVar[dict[str, Figure] | None] = ContextVar("_kept", default=None)


@contextmanager
def kept_figures() -> Iterator[dict[str, Figure]]:
    """Within, `save_figure` writes nothing: it keeps the figures, by the names of their files without a suffix."""
    found: dict[str, Figure] = {}
    token = _kept.set(found)
    try:
        yield found
    finally:
        _kept.reset(token)


class _Shown(Figure):
    """A figure that a notebook shows, as there is no pyplot that would."""

    def _repr_svg_(self) -> str:
        written = StringIO()
        with rc_context({"svg.fonttype": "none"}):
            self.savefig(written, format="svg", bbox_inches="tight", metadata=_NO_METADATA[".svg"])
        return written.getvalue().replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)


def new_figure(width: float, height: float, between: float = 0.04) -> Figure:
    """Return a figure of that many inches, whose layout makes room for all text and `between` the panels."""
    return _Shown(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=between))


def save_figure(figure: Figure, path: str | os.PathLike[str], own: tuple[re.Pattern[bytes], str] | None = None) -> None:
    """Write a figure, atomically; the folder is made if missing.

    Its layout is done once, whatever the formats. Equal figures make equal PNG, SVG and PDF files.

    Args:
        figure: The figure.
        path: The file, whose suffix decides the format. Without one, two files are written: `.png` and `.svg`.
        own: Mark and option if the path is of the user's choice, see `redwood.core.files.refuse_foreign`. The mark is
            the file's creator; formats that name none cannot be replaced.
    """
    path, kept = Path(path), _kept.get()
    if kept is not None:
        kept[path.stem] = figure
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    creator: dict[str, str] = {} if own is None else {"Creator": own[0].pattern.decode()}
    engine = figure.get_layout_engine()
    figure.set_dpi(_DPI)
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)  # with "none", each format would be laid out by another drawing
    shown = figure.get_tightbbox().padded(_MARGIN)
    for axes in figure.axes:
        for patch in axes.patches:
            patch.set_rasterized(bool(patch.get_hatch()))  # the path of a hatch can take 100 kB
        drawn = [line.get_path().vertices for line in axes.lines] + [cloud.get_offsets() for cloud in axes.collections]
        if sum(np.shape(points)[0] for points in drawn) > _MAX_POINTS:
            for artist in (*axes.lines, *axes.collections):
                artist.set_rasterized(True)
    # Texts stay texts, and name few fonts, which keeps files small. Ids in a file follow from the salt. Many venues
    # take no fonts of Type 3, which PDF files have otherwise.
    fonts = [rcParams["font.sans-serif"][0], "Verdana", "sans-serif"]
    for file in [path] if path.suffix else [path.with_suffix(".png"), path.with_suffix(".svg")]:
        described = _NO_METADATA.get(file.suffix, {}) | creator
        style: Any = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": file.stem, "font.sans-serif": fonts}
        with replacing(file, own) as temporary, rc_context(style):
            figure.savefig(temporary, format=file.suffix[1:], dpi=_DPI, bbox_inches=shown, metadata=described)


def style_axes(axes: Axes, x: str, y: str) -> None:
    """Name the axes, and leave of their frame only what helps to read values off."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(color=_GREY, labelcolor="#222222")
    axes.grid(axis="both", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)


def number_tasks(axes: Axes, tasks: int, most: int = 20) -> None:
    """Put task numbers on the horizontal axis, at most `most` of them."""
    axes.set_xticks(range(0, tasks, -(-tasks // most)))


def name_tasks(axis: Axis, results: Results, tasks: Sequence[int]) -> None:
    """Put the names or numbers of tasks on an axis, at most 20 of them."""
    shown = range(0, len(tasks), -(-len(tasks) // 20))
    labels = [task_label(results, tasks[place]) for place in shown]
    axis.set_ticks(shown, labels)
    if isinstance(axis, XAxis) and width_of(labels) > _LEVEL_LETTERS:
        for text in axis.get_ticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def name_phases(axis: Axis, results: Results, phases: int) -> None:
    """Put on an axis the task that each of the first phases trains, at most 20 of them."""
    name_tasks(axis, results, range(phases) if results.phase_tasks is None else results.phase_tasks[:phases])


def title_run(figure: Figure, results: Results, what: str) -> None:
    """Write above a figure what it shows, and of which run."""
    done = len(results.accuracy_matrix)
    unfinished = "" if done == results.num_phases else f", {done} of {results.num_phases} phases"
    names = (*map(title_name, (results.setting, results.method, results.dataset)), f"seed {results.seed}{unfinished}")
    subtitle = " · ".join(name for name in names if name)
    figure.suptitle(f"{what}\n{subtitle}", fontsize=11)


def describe_tasks(figure: Figure, results: Results) -> None:
    """Write below a figure what each task is, if results keep it and there are not too many tasks."""
    physics, listed = (results.config.get(key, []) for key in ("task_physics", "task_list"))
    told = [", ".join(f"{name} {_short(value)}" for name, value in task.items()) for task in physics]
    if results.task_names and not has_short_names(results):
        told = [shorten(name, _NAME_LENGTH, placeholder=" ...") for name in results.task_names]
    told = told or [shorten(", ".join(map(str, task.values())), _NAME_LENGTH, placeholder=" ...") for task in listed]
    if not any(told) or len(told) > MAX_DESCRIBED_TASKS:
        return
    lines = [f"task {number}: {text}" for number, text in enumerate(told)]
    figure.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize=8, color=_GREY)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else title_name(str(value))


def name_average(axes: Axes) -> None:
    """Write the labelled lines' names above the panel, where nothing is covered and the panel keeps its width."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0.1, fontsize=9)


def label_ends(
    axes: Axes,
    labels: Sequence[tuple[float, float, str, str]],
    height: float,
    limits: tuple[float, float] = PERCENT_LIMITS,
) -> None:
    """Write beside the ends of lines, all at one x, moved apart where texts would overlap.

    Args:
        axes: Where the lines are.
        labels: `(x, y, text, colour)` of each line, the end point in data units. A line without an end, where y is no
            number, gets no label.
        height: Height of the panel in inches, roughly.
        limits: What the panel spans vertically.
    """
    ordered = sorted((label for label in labels if np.isfinite(label[1])), key=lambda label: label[1])
    if not ordered:
        return
    low, high = limits
    lines = max(text.count("\n") + 1 for _, _, text, _ in ordered)
    gap = (high - low) * min(lines * _LINE_HEIGHT / height, 1 / len(ordered))
    figure = axes.get_figure(root=True)
    assert figure is not None
    beside = axes.transData + ScaledTranslation(0.22, 0, figure.dpi_scale_trans)
    heights = spread([y for _, y, _, _ in ordered], gap, low, high)
    leader = {"arrowstyle": "-", "linewidth": 0.7, "alpha": 0.7, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
    for (x, y, text, colour), moved in zip(ordered, heights, strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(x, moved),
            textcoords=beside,
            arrowprops=leader | {"color": colour},
            color=colour,
            fontsize=9,
            fontweight="bold" if colour == "black" else "normal",
            va="center",
            annotation_clip=False,
        )


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending positions as little as possible (least squares), so that neighbours are `gap` apart.

    This is isotonic regression of `positions[i] - i * gap`, by its min-max formula (Barlow et al., "Statistical
    Inference under Order Restrictions", 1972).

    Args:
        positions: Ascending positions.
        gap: Least distance of neighbours.
        low: Lower bound of the result.
        high: Upper bound; has to leave room for all gaps.

    Returns:
        As many positions, in the same order.
    """
    steps = gap * np.arange(len(positions))
    wanted = np.asarray(positions, dtype=np.float64) - steps
    n = len(wanted)
    fitted = [max(min(wanted[j : k + 1].mean() for k in range(i, n)) for j in range(i + 1)) for i in range(n)]
    return [float(y) for y in np.clip(fitted, low, high - gap * (n - 1)) + steps]


def scale_of(measure: Measure, shown: NDArray[np.float64], room: float = 1.0) -> tuple[float, float]:
    """The ends of a scale for these values: all that is possible for percentages, else zero and the outermost of them.

    Args:
        measure: What they are values of.
        shown: The values as they are shown; NaN where there is none.
        room: How much longer the scale is than it has to be.
    """
    if measure.unit == "%":
        return 0.0, 100.0 * room
    low, high = min(float(np.nanmin(shown)), 0.0), max(float(np.nanmax(shown)), 0.0)
    if low == high:
        return 0.0, room
    return low * room, high * room + (0.0 if high else (room - 1) * -low)


def shade_phases(axes: Axes, order: Sequence[int], steps: int) -> None:
    """Shade every second phase behind a curve over steps, of which each phase has `steps`, and number the tasks."""
    for phase, task in enumerate(order):
        left, right = phase * steps, (phase + 1) * steps
        if phase % 2:
            axes.axvspan(left, right, color="black", alpha=0.06, lw=0)
        if len(order) <= MAX_DESCRIBED_TASKS:
            axes.annotate(
                f"task {task}",
                ((left + right) / 2, 0.0),
                (0, 4),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color=_GREY,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
            )


LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\", "oooo", "++++")


@dataclass(frozen=True)
class Look:
    """The look of a method in figures.

    Attributes:
        colour: Colour of bars, lines and points.
        line: Style of lines.
        marker: Marker of points.
        hatch: Hatch of bars; among methods that share a colour, all but the first have one.
        is_bound: Whether it is an upper bound, which figures show for reference: grey, and dashed.
    """

    colour: str
    line: str
    marker: str
    hatch: str
    is_bound: bool = False


def looks_of_pairs(pairs: Iterable[PairResults]) -> dict[str, Look]:
    """A look for each method; upper bounds take no colour away from the others."""
    pairs = list(pairs)
    bounds = {pair.method for pair in pairs if pair.ran_under is not None}
    looks = looks_of({pair.method for pair in pairs} - bounds)
    return looks | dict.fromkeys(bounds, Look(_GREY, "--", "d", "", is_bound=True))


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name; it follows from the names alone, whatever the results are and in which order they come.

    Each name has a colour of its own in all pictures, unless an earlier name in one picture has the same.
    """
    looks: dict[str, Look] = {}
    for number, name in enumerate(sorted(set(names))):
        turn = number // len(COLOURS)
        if number % len(COLOURS) == 0:
            free = set(range(len(COLOURS)))
        own = crc32(name.encode()) % len(COLOURS)
        colour = min(free, key=lambda one: (one - own) % len(COLOURS))
        free.remove(colour)
        looks[name] = Look(
            COLOURS[colour], LINES[turn % len(LINES)], MARKERS[turn % len(MARKERS)], HATCHES[turn % len(HATCHES)]
        )
    return looks


def height_of(texts: Iterable[str]) -> int:
    """Lines of the highest of some texts."""
    return max(text.count("\n") + 1 for text in texts)


def width_of(texts: Iterable[str]) -> int:
    """Letters of the longest line of some texts."""
    return max(len(line) for text in texts for line in text.split("\n"))

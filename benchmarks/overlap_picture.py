"""The picture of `overlap.py`."""

from pathlib import Path
from typing import Any

from overlap_cases import ASYNC, DELAYED_ASYNC, IDEAL, PLAIN
from overlap_report import Measured, Row

LINES = (("ideal (ms)", "plain b + r", "0.5"), ("synchronous (ms)", "synchronous", "C3"))
LINES += (("asynchronous (ms)", "asynchronous", "C0"),)
COLOURS = {"wait": "C3", "insert": "C1", "counts": "C4", "plan": "C5", "gather": "C2", "exchange": "C0", "step": "0.8"}


def draw(main: list[Measured], trains: list[Row], delays: list[Row], replays: list[Row], path: Path) -> None:
    """Ratios to the ideal, both curves, the curve over r, and a time line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(15, 11), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(4, 4, 3))
    _bars(figure.add_subplot(grid[0, :]), main)
    _curve(figure.add_subplot(grid[1, 0]), trains, "training (ms)", "training time of a step (ms), link slowed by 5 ms")
    _curve(figure.add_subplot(grid[1, 1]), delays, "delay (ms)", "delay of the link (ms), training 25 ms")
    _replays(figure.add_subplot(grid[1, 2]), replays)
    shown = main[0].timelines[DELAYED_ASYNC]
    draw_timeline(figure.add_subplot(grid[2, :]), shown, 4, "idle host, link slowed by 5 ms: four steps of a worker")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def draw_timeline(axes: Any, spans: list[tuple[str, float, float]], steps: int, title: str) -> None:
    """What the training and the background did during the last steps: spans of `Profiler.timeline`."""
    starts = [start for name, start, _ in spans if name == "step"][-steps:]
    zero, end = starts[0], max(stop for name, _, stop in spans if name == "step")
    for name, start, stop in spans:
        if stop <= zero or start >= end:
            continue
        lane = 1 if name in ("step", "wait") else 0
        left, right = max(start, zero), min(stop, end)
        edge = "white" if name == "step" else "none"
        place = {"left": left - zero, "height": 0.6, "color": COLOURS[name], "edgecolor": edge}
        axes.barh(lane, right - left, label=name, **place)
    axes.set_yticks([0, 1], ["rehearsal", "training"])
    axes.set_xlabel("ms")
    axes.set_title(title)
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(named.values(), named.keys(), ncols=len(named), fontsize="small", loc="upper center")
    axes.set_ylim(-0.5, 2.1)


def _bars(axes: Any, main: list[Measured]) -> None:
    names = [name for name in main[0].case.variants if name not in (PLAIN, IDEAL)]
    for position, name in enumerate(names):
        ratios = [found.ratio(name, IDEAL) for found in main]
        places = [number + 0.2 * (position - 1.5) for number in range(len(main))]
        errors = [[mid - low for low, mid, _ in ratios], [high - mid for _, mid, high in ratios]]
        axes.bar(places, [mid for _, mid, _ in ratios], 0.2, yerr=errors, label=name)
    axes.axhline(1, color="0.5")
    axes.set_ylim(0.9)
    axes.set_xticks(range(len(main)), [found.label.replace(", ", "\n") for found in main], fontsize="small")
    axes.set_ylabel("step / step of plain b + r")
    axes.legend(fontsize="small")


def _curve(axes: Any, rows: list[Row], over: str, label: str) -> None:
    for column, name, colour in LINES:
        axes.plot([row[over] for row in rows], [row[column] for row in rows], "o-", label=name, color=colour)
    axes.set_xlabel(label)
    axes.set_ylabel("step (ms)")
    axes.set_ylim(0)
    axes.legend()


def _replays(axes: Any, rows: list[Row]) -> None:
    models = sorted({row["model"] for row in rows})
    for model in models:
        chosen = [row for row in rows if row["model"] == model]
        places = [row["r"] for row in chosen]
        axes.plot(places, [row["asynchronous / plain b"] for row in chosen], "o-", label=f"{ASYNC}, {model}")
        axes.plot(places, [row["plain b + r / plain b"] for row in chosen], "s:", label=f"{IDEAL}, {model}")
    first = [row for row in rows if row["model"] == models[0]]
    axes.plot([row["r"] for row in first], [row["(b + r) / b"] for row in first], color="0.5", label="(b + r) / b")
    axes.set_xlabel("representatives r")
    axes.set_ylabel("step / step of plain b")
    axes.legend(fontsize="small")

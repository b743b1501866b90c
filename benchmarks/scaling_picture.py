"""The picture of `scaling_model.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes


def draw(steps: list[dict[str, Any]], networks: Sequence[str], trainings: Sequence[float], path: Path) -> None:
    """By how much a step gets longer over the number of workers, with the smaller r: a panel for each training time."""
    figure = new_figure(9.0, 4.6)
    panels = figure.subplots(1, len(trainings), sharey=True)
    least = min(step["r"] for step in steps)
    for axes, training in zip(panels, trainings, strict=True):
        for number, (colour, network) in enumerate(zip(COLOURS, networks, strict=False)):
            shown = [step for step in steps if step["network"] == network and step["r"] == least]
            shown = [step for step in shown if step["training (ms)"] == 1e3 * training]
            workers = [step["workers"] for step in shown]
            # Smaller markers on larger ones: lines may lie on each other.
            for name, style in (("async", "-"), ("sync", ":")):
                waits = [step[f"{name}, simulated (ms)"] for step in shown]
                label = network if name == "async" else None
                axes.plot(workers, waits, style, color=colour, marker="o", markersize=8 - 1.6 * number, label=label)
        axes.axhline(1e3 * training, color="#555555", linewidth=0.8)
        axes.text(8, 1.08e3 * training, "as long as the step itself", fontsize=8, va="bottom", color="#555555")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(workers, [str(n) for n in workers])
        style_axes(axes, "workers", "" if axes is not panels[0] else "a step takes longer by (ms)")
        axes.set_title(f"training steps of {1e3 * training:.0f} ms", fontsize=10)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=8.5)
    told = "modelled, not run; solid: asynchronous, dotted: synchronous"
    figure.suptitle(told, fontsize=9)
    save_figure(figure, path)

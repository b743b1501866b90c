"""Accuracy of clients that train apart, on class-incremental digits: 10 clients, alike or skewed in their classes.

`fedssi` against `fedavg` on the same clients, rounds and learning rate, and `fedavg` at the learning rate that suits it
best; beside them `finetune` and `rehearsal` on the same batches, as if all samples lay with the server. Learning rates
and strengths were chosen on other seeds, by the average accuracy after the last task: 10 and 11, of skew 0.1 10 to 13.

Run: python benchmarks/federated.py [--skews 10 0.1] [--seeds 5].
Writes benchmarks/results/federated.*; a skew that is not run keeps its earlier figures.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean, stdev
from typing import Any

import numpy as np
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write
from matplotlib.axes import Axes

from redwood.branches.federated.fedavg import FedAvg
from redwood.branches.federated.fedssi import FedSSI
from redwood.branches.federated.setting import FederatedClassIncrementalSetting
from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes
from redwood.methods.base import Method
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal

SKEWS = (10.0, 0.1)
CLIENTS, ROUNDS, LOCAL_PASSES = 10, 10, 1
# Of each skew: the learning rate of all, that of fedavg alone, and the strength of the penalty.
CHOSEN = {10.0: (0.02, 0.01, 2.0), 0.1: (0.01, 0.02, 16.0)}
FEDAVG, FEDSSI = "fedavg", "fedssi"

Found = dict[str, Any]


def methods_of(skew: float) -> dict[str, Callable[[], Method]]:
    """What is compared, by name."""
    lr, best, strength = CHOSEN[skew]
    return {
        FEDAVG: partial(FedAvg, lr=lr),
        f"{FEDAVG}, lr {best}": partial(FedAvg, lr=best),
        FEDSSI: partial(FedSSI, lr=lr, ssi_c=strength),
        "finetune, centralised": partial(Finetune, lr=lr),
        "rehearsal, centralised": partial(Rehearsal, lr=lr, buffer_size=200),
    }


def setting_of(skew: float, seed: int) -> FederatedClassIncrementalSetting:
    """Five tasks of two digits."""
    return FederatedClassIncrementalSetting(
        seed=seed, clients=CLIENTS, client_skew=skew, rounds=ROUNDS, local_passes=LOCAL_PASSES
    )


def measure(skew: float, seeds: int) -> dict[str, Found]:
    """Each method on each seed."""
    found: dict[str, Found] = {}
    for name, make in methods_of(skew).items():
        results = [setting_of(skew, seed).apply(make(), **RUN_OPTIONS) for seed in range(seeds)]
        found[name] = {
            "accuracy": [one.objective for one in results],
            "average incremental": [one.metrics["average_incremental_accuracy"] for one in results],
            "forgetting": [one.metrics["forgetting"] for one in results],
            "curve": [one.average_curve.tolist() for one in results],
        }
        print(skew, name, [round(value, 3) for value in found[name]["accuracy"]], flush=True)
    return found


def cell(values: Sequence[float]) -> str:
    """Mean and standard error, in percent."""
    return f"{100 * mean(values):.1f} +- {100 * stdev(values) / math.sqrt(len(values)):.1f}"


def gain(found: Mapping[str, Found], base: str) -> tuple[float, float]:
    """Mean and standard error of what fedssi gains on `base`, seed by seed, in points."""
    pairs = zip(found[FEDSSI]["accuracy"], found[base]["accuracy"], strict=True)
    gains = [100 * (own - other) for own, other in pairs]
    return mean(gains), stdev(gains) / math.sqrt(len(gains))


def report(found: Mapping[str, Any]) -> str:
    """The results as a page."""
    lines = ["# Clients that train apart, class-incremental digits", ""]
    lines += [f"{CLIENTS} clients, {ROUNDS} rounds of {LOCAL_PASSES} local pass a task; means and standard errors.", ""]
    for skew, own in found["skews"].items():
        lr, _, strength = CHOSEN[float(skew)]
        lines += [f"## Dirichlet {skew}: learning rate {lr}, `--ssi_c {strength:g}`", ""]
        rows = [
            {
                "method": name,
                "average accuracy": cell(values["accuracy"]),
                "average incremental": cell(values["average incremental"]),
                "forgetting": cell(values["forgetting"]),
            }
            for name, values in own.items()
        ]
        lines += [markdown_table(rows), ""]
        for base in [name for name in own if name.startswith(FEDAVG)]:
            points, error = gain(own, base)
            verdict = "reached" if points >= 2 * error else "missed"
            lines += [
                f"`fedssi` - {base}: {points:+.1f} +- {error:.1f} points; the bar of 2 standard errors is {verdict}.",
                "",
            ]
    return "\n".join([*lines, "![class shares of clients, and accuracy from task to task](federated.png)"])


def draw(found: Mapping[str, Any]) -> None:
    """Class shares of the clients of seed 0, and average accuracy from task to task."""
    figure = new_figure(9.6, 5.4)
    for row, (skew, own) in zip(
        figure.subplots(len(found["skews"]), 2, squeeze=False), found["skews"].items(), strict=True
    ):
        draw_shares(row[0], float(skew))
        style_axes(row[1], "tasks learned", "average accuracy (%)")
        for colour, (name, values) in zip(COLOURS, own.items(), strict=False):
            curve = 100 * np.array(values["curve"])
            tasks, error = np.arange(1, curve.shape[1] + 1), curve.std(0, ddof=1) / math.sqrt(len(curve))
            row[1].errorbar(
                tasks, curve.mean(0), error, color=colour, label=name, marker="o", markersize=3, linewidth=1.2
            )
        row[1].set_xticks(tasks)
        row[1].set_ylim(0, 104)
        row[1].legend(frameon=False, fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, RESULTS / "federated.png")


def draw_shares(axes: Axes, skew: float) -> None:
    """Stacked bars: the samples of each class that a client holds."""
    counts = np.zeros((CLIENTS, 10))
    for phase in setting_of(skew, 0).phases():
        for batch in phase.train:
            if batch.first_pass and batch.turn is not None:
                counts[batch.turn.client] += np.bincount(batch.y.numpy(), minlength=10)
    style_axes(axes, "client", "samples, a colour for each class")
    axes.set_title(f"Dirichlet {skew:g}", fontsize=9)
    bottom = np.zeros(CLIENTS)
    for label in range(10):
        colour, light = COLOURS[label % len(COLOURS)], 1.0 if label < len(COLOURS) else 0.45
        axes.bar(range(CLIENTS), counts[:, label], bottom=bottom, color=colour, alpha=light, width=0.8)
        bottom += counts[:, label]
    axes.set_xticks(range(CLIENTS))


def main() -> None:
    """Run the skews that were asked for, and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skews", nargs="*", type=float, choices=SKEWS, default=SKEWS)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    use_one_thread()
    for skew in chosen.skews:
        write_with({f"{skew:g}": measure(skew, chosen.seeds)})
    write_with({})


def write_with(measured: Mapping[str, dict[str, Found]]) -> None:
    """Write what is known: earlier results, and what has been measured."""
    earlier = RESULTS / "federated.json"
    known = {**(json.loads(earlier.read_text())["skews"] if earlier.exists() else {}), **measured}
    found = {"skews": {key: known[key] for key in (f"{skew:g}" for skew in SKEWS) if key in known}, **environment()}
    draw(found)
    write("federated", found, report(found))


if __name__ == "__main__":
    main()

"""OSAKA offline: who adapts to contexts that switch unannounced, and who goes on learning how to.

The default domains (digits for pre-training, permuted digits, 20 prototypes), 5 ways, 5 shots, 1,500 steps, alpha 0.98
and 0.90, 3 seeds; a network of 64-64-64-5 for all methods; 1,000 episodes where there is pre-training. Adam's learning
rates are the default of its authors, and the best ones of 0.001, 0.003 and 0.01 at each alpha.

Methods that no bar is about are run at alpha 0.98 alone, and last.

Run: python benchmarks/osaka.py. Each run is written once it is over; started again, the script does what is left.
Writes benchmarks/results/osaka.* and docs/osaka.png.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, Seconds, environment, markdown_table, write
from torch import nn

from redwood.branches.osaka.continual_maml import ContinualMAML
from redwood.branches.osaka.maml import ANIL, MAML
from redwood.branches.osaka.results import OsakaResults
from redwood.branches.osaka.setting import OsakaSetting
from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes
from redwood.methods import Finetune
from redwood.methods.networks import Scale

SEEDS, STEPS, EPISODES = 3, 1500, 1000
OFF: dict[str, Any] = {"boundary_threshold": 0.0, "update_modulation": 0.0, "prolonged_batches": 0}
ADAM, FULL = "online Adam, lr {}", "continual_maml, pre-trained, all three parts"
PARTS = {
    "boundaries": {"boundary_threshold": 1.0},
    "modulation": {"update_modulation": 2.0},
    "prolonged": {"prolonged_batches": 16},
}
# Episodes of pre-training, and the method.
METHODS: dict[str, tuple[int, Any]] = {
    **{ADAM.format(lr): (0, partial(Finetune, optimizer="adam", lr=lr)) for lr in (0.001, 0.003, 0.01)},
    "maml, pre-trained, then frozen": (EPISODES, MAML),
    "anil, pre-trained, then frozen": (EPISODES, ANIL),
    "continual_maml, no pre-training, no part": (0, partial(ContinualMAML, **OFF)),
    "continual_maml, pre-trained, no part": (EPISODES, partial(ContinualMAML, **OFF)),
    "continual_maml, pre-trained, boundaries": (EPISODES, partial(ContinualMAML, **OFF | PARTS["boundaries"])),
    "continual_maml, pre-trained, modulation": (EPISODES, partial(ContinualMAML, **OFF | PARTS["modulation"])),
    "continual_maml, no pre-training, all three parts": (0, ContinualMAML),
    FULL: (EPISODES, ContinualMAML),
}
# What the bars are about. The others are run at alpha 0.98 alone.
COMPARED = [*(ADAM.format(lr) for lr in (0.001, 0.003, 0.01)), "maml, pre-trained, then frozen", FULL]
SHOWN = {"online Adam": ADAM.format(0.003), "maml": "maml, pre-trained, then frozen", "continual_maml": FULL}
MOST_SHOWN, FEWEST_VISITS = 40, 5


def network() -> nn.Sequential:
    """64-64-64-5."""
    space = OsakaSetting(timesteps=1).observation_space
    layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5)]
    return nn.Sequential(Scale(space), nn.Flatten(), *layers)


def run(name: str, alpha: float, seed: int) -> dict[str, Any]:
    """One run: accuracies, the boundaries that were told, CPU seconds."""
    episodes, make = METHODS[name]
    setting = OsakaSetting(stay_probability=alpha, timesteps=STEPS, pretraining=episodes, seed=seed)
    method = make(model=network())
    start = Seconds.now()
    results = setting.apply(method, **RUN_OPTIONS)
    spent = Seconds.now().since(start)
    assert isinstance(results, OsakaResults)
    outcome = {
        "method": name,
        "alpha": alpha,
        "seed": seed,
        "accuracy": results.objective,
        "by domain": results.accuracy_matrix[0],
        "since switch": {key: [row[:MOST_SHOWN] for row in rows] for key, rows in results.since_switch.items()},
        "cpu": spent.cpu,
    }
    switches = set(setting.open_stream().visits.starts.tolist()[1:])
    outcome["switches"] = len(switches)
    if getattr(method, "boundary_threshold", 0.0):
        told = set(method.boundaries)
        outcome["recall"] = len(told & switches) / len(switches)
        outcome["false alarms a step"] = len(told - switches) / STEPS
    return outcome


def all_runs() -> list[dict[str, Any]]:
    """The runs of the file, and those that are left."""
    path = RESULTS / "osaka.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else []
    done = {(one["method"], one["alpha"], one["seed"]) for one in runs}
    for names, alpha in ((COMPARED, 0.98), (COMPARED, 0.9), (METHODS, 0.98)):
        for name, seed in ((name, seed) for seed in range(SEEDS) for name in names):
            if (name, alpha, seed) not in done:
                done.add((name, alpha, seed))
                runs.append(run(name, alpha, seed))
                print({key: value for key, value in runs[-1].items() if key != "since switch"}, flush=True)
                path.write_text(json.dumps({"runs": runs}) + "\n")
    return runs


def of(runs: list[dict[str, Any]], name: str, alpha: float) -> list[dict[str, Any]]:
    """The seeds of a method."""
    return [one for one in runs if (one["method"], one["alpha"]) == (name, alpha)]


def row_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means in percent, over the seeds of a method."""
    accuracies = [100 * one["accuracy"] for one in runs]
    domains = [100 * mean(values) for values in zip(*(one["by domain"] for one in runs), strict=True)]
    deviation = f" +- {stdev(accuracies):.1f}" if len(runs) > 1 else ""
    row = {
        "alpha": runs[0]["alpha"],
        "method": runs[0]["method"],
        "seeds": len(runs),
        "accuracy": f"{mean(accuracies):.1f}{deviation}",
        "pre / permuted / prototypes": " / ".join(f"{value:.1f}" for value in domains),
        "recall": None,
        "false alarms a step": None,
        "CPU s": f"{mean(one['cpu'] for one in runs):.0f}",
    }
    if "recall" in runs[0]:
        row["recall"] = f"{mean(one['recall'] for one in runs):.3f}"
        row["false alarms a step"] = f"{mean(one['false alarms a step'] for one in runs):.4f}"
    return row


def bars(runs: list[dict[str, Any]], alpha: float) -> list[dict[str, Any]]:
    """What was asked for, and what was measured."""

    def accuracy(name: str) -> float:
        return 100 * mean(one["accuracy"] for one in of(runs, name, alpha))

    frozen = np.mean([one["by domain"] for one in of(runs, "maml, pre-trained, then frozen", alpha)], 0) * 100
    full = of(runs, FULL, alpha)
    checks = [("continual_maml over frozen maml, points", accuracy(FULL) - accuracy(SHOWN["maml"]), ">= 10")]
    checks += [
        (f"continual_maml over {ADAM.format(lr)}, points", accuracy(FULL) - accuracy(ADAM.format(lr)), ">= 15")
        for lr in (0.001, 0.003, 0.01)
    ]
    own = 100 * mean(one["by domain"][0] for one in full)
    checks += [
        ("frozen maml over continual_maml on the pre-training domain, points", frozen[0] - own, ">= 0"),
        ("frozen maml: pre-training domain over permuted, points", frozen[0] - frozen[1], ">= 30"),
        ("frozen maml: pre-training domain over prototypes, points", frozen[0] - frozen[2], ">= 30"),
        ("boundary recall", mean(one["recall"] for one in full), ">= 0.95"),
        ("false alarms a step", mean(one["false alarms a step"] for one in full), "<= 0.005"),
    ]
    return [
        {
            "alpha": alpha,
            "check": check,
            "bar": bar,
            "measured": float(value),
            "met": "yes" if met(value, bar) else "no",
        }
        for check, value, bar in checks
    ]


def met(value: float, bar: str) -> bool:
    """Whether a value keeps a bar such as `>= 10`."""
    sign, number = bar.split()
    return bool(value >= float(number)) if sign == ">=" else bool(value <= float(number))


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Accuracy by steps since the switch at alpha 0.98, a panel for each domain; all seeds together."""
    figure = new_figure(7.6, 2.6)
    for number, domain in enumerate(("digits (pre-training)", "permuted digits", "prototypes")):
        axes = figure.add_subplot(1, 3, number + 1)
        for colour, (label, name) in zip(COLOURS, SHOWN.items(), strict=False):
            sums = np.zeros((2, MOST_SHOWN))
            for one in of(runs, name, 0.98):
                steps = np.array(one["since switch"]["steps"][number], dtype=float)
                values = np.array(one["since switch"]["accuracy"][number], dtype=float)
                sums[:, : len(steps)] += np.stack([np.nan_to_num(values) * steps, steps])
            shown = np.flatnonzero(sums[1] >= FEWEST_VISITS)
            axes.plot(shown, 100 * sums[0, shown] / sums[1, shown], color=colour, lw=1.4, label=label)
        axes.set_ylim(0, 102)
        axes.set_title(domain, fontsize=10)
        style_axes(axes, "steps since the switch", "accuracy (%)" if number == 0 else "")
        if number == 1:
            axes.legend(loc="lower right", frameon=False, fontsize=8)
    save_figure(figure, path)


def report(runs: list[dict[str, Any]]) -> tuple[Mapping[str, Any], str]:
    """The content of the result files."""
    alphas = [alpha for alpha in (0.98, 0.9) if all(len(of(runs, name, alpha)) == SEEDS for name in COMPARED)]
    rows = [row_of(of(runs, name, alpha)) for alpha in alphas for name in METHODS if of(runs, name, alpha)]
    checks = [check for alpha in alphas for check in bars(runs, alpha)]
    text = f"{markdown_table(rows)}\n\nMeans over the seeds, in percent.\n\n{markdown_table(checks)}"
    return {"environment": environment(), "table": rows, "bars": checks, "runs": runs}, text


def main() -> None:
    """Run what is left, and report."""
    use_one_thread()
    runs = all_runs()
    write("osaka", *report(runs))
    draw(runs, Path(__file__).parents[1] / "docs" / "osaka.png")


if __name__ == "__main__":
    main()

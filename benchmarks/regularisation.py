"""Average accuracy of the methods that hold weights back: permuted and rotated digits, with and without task ids.

The strength of each method is the same in all cells, and multiplies importances as they are measured. What is trained
how fast is the same for all methods of a cell, and such that fine-tuning forgets: with task ids it takes a small
network. The upper bound is rehearsal that forgets no sample.

Run: python benchmarks/regularisation.py. Writes benchmarks/results/regularisation.*.
"""

from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write
from torch import nn

from redwood.methods import get_method
from redwood.methods.networks import Scale
from redwood.settings import get_setting

SEEDS = range(9, 12)  # setups and strengths were chosen on smaller ones
MARGIN = 0.10
# Setting and stream, and with which tasks, network, learning rate and passes fine-tuning forgets there.
CELLS: dict[tuple[str, str], dict[str, Any]] = {
    ("task_incremental", "permuted"): {"nb_tasks": 10, "width": 32, "lr": 0.2, "passes": 8},
    ("task_incremental", "rotated"): {"nb_tasks": 10, "width": 12, "lr": 0.2, "passes": 8},
    ("domain_incremental", "permuted"): {"nb_tasks": 5, "width": 64, "lr": 0.25, "passes": 8},
    ("domain_incremental", "rotated"): {"nb_tasks": 10, "width": 48, "lr": 0.4, "passes": 10},
}
UNSCALED = {"importance_scale": "none"}  # the papers' penalties; benchmarks/defaults.py measures the defaults
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune": ("finetune", {}),
    "ewc, online": ("ewc", {"ewc_lambda": 2.0, **UNSCALED}),
    "si": ("si", {"si_c": 0.015, **UNSCALED}),
    "mas": ("mas", {"mas_lambda": 0.001, **UNSCALED}),
    "rwalk": ("rwalk", {"rwalk_lambda": 1.0}),
    "ewc, per task": ("ewc", {"ewc_form": "per_task", "ewc_lambda": 100.0, **UNSCALED}),
    "rehearsal of all samples": ("rehearsal", {"buffer_size": 20_000}),
}
JUDGED = ("ewc, online", "si", "mas", "rwalk", "ewc, per task")


def name_of(cell: tuple[str, str]) -> str:
    """How a cell is called in tables."""
    return ", ".join(cell)


def accuracies(method: str, options: dict[str, Any], cell: tuple[str, str]) -> list[float]:
    """Average accuracy after the last task, for each seed."""
    (kind, stream), setup = cell, CELLS[cell]
    values = []
    for seed in SEEDS:
        setting: Any = get_setting(kind)(seed=seed, stream=stream, nb_tasks=setup["nb_tasks"], passes=setup["passes"])
        learner = get_method(method)(model=network(setting, setup["width"]), lr=setup["lr"], **options)
        values.append(setting.apply(learner, **RUN_OPTIONS).objective)
    return values


def network(setting: Any, width: int) -> nn.Module:
    """Two hidden layers of `width`; the same initial weights for all methods."""
    torch.manual_seed(setting.seed)
    space, n_outputs = setting.observation_space, int(setting.action_space.n)
    layers = (nn.Linear(space.shape[-1] * space.shape[-2], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(Scale(space), nn.Flatten(), *layers, nn.Linear(width, n_outputs))


def verdicts(raw: dict[str, dict[str, list[float]]]) -> list[str]:
    """What each method gains on fine-tuning in each cell, of what there is to gain, and whether that will do."""
    means = {name: {cell: mean(values) for cell, values in cells.items()} for name, cells in raw.items()}
    lines = []
    for cell in map(name_of, CELLS):
        lower, upper = means["finetune"][cell], means["rehearsal of all samples"][cell]
        for name in JUDGED:
            gain = means[name][cell] - lower
            reached = "reached" if gain >= MARGIN else "missed"
            lines.append(
                f"{cell}: {name} gains {gain:+.3f} of {upper - lower:.3f}; bar: +{MARGIN:.2f} on finetune: {reached}."
            )
    return lines


def table_of_setups() -> list[dict[str, Any]]:
    """One row per cell."""
    return [{"cell": name_of(cell)} | setup for cell, setup in CELLS.items()]


def main() -> None:
    use_one_thread()
    rows, raw = [], {}
    for name, (method, options) in FAMILY.items():
        raw[name] = {name_of(cell): accuracies(method, options, cell) for cell in CELLS}
        rows.append(
            {"method": name}
            | {cell: f"{mean(values):.3f} +- {stdev(values):.3f}" for cell, values in raw[name].items()}
        )
        print(rows[-1], flush=True)
    judged = verdicts(raw)
    setups = {name_of(cell): setup for cell, setup in CELLS.items()}
    title = f"Average accuracy on digits, seeds {SEEDS.start} to {SEEDS.stop - 1}:"
    parts = [title, markdown_table(rows), "Where:", markdown_table(table_of_setups()), *judged]
    content = {**environment(), "setups": setups, "methods": FAMILY, "accuracy": raw, "verdicts": judged}
    write("regularisation", content, "\n\n".join(parts))


if __name__ == "__main__":
    main()

"""Folders of runs that were never made: results with numbers drawn from the seed."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from redwood.core.files import plain, write_json
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.plan import ComparisonPlan
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import SliceScores

CLASSES = 4


def made_results(setting: str = "s", method: str = "m", seed: int = 0, phases: int = 2, **options: Any) -> Results:
    """Results of a run on classes; `options` stand in its configuration."""
    random = np.random.default_rng([seed, phases, *map(ord, setting + method)])
    names = [str(number) for number in range(CLASSES)]
    accuracy = random.random(CLASSES).tolist()
    return Results(
        setting=setting,
        method=method,
        dataset="digits",
        seed=seed,
        num_phases=phases,
        accuracy_matrix=random.random((phases, phases)).tolist(),
        online_curve=[(10 * (point + 1), float(random.random())) for point in range(20)],
        cost=Cost(
            wall_time_s=float(random.random()),
            training_flops=1e9,
            flops={use: (1e9 * random.random(phases)).tolist() for use in USES},
        ),
        config=plain({"setting": setting, "method": method, "seed": seed, **options}),
        slices=SliceScores("class", names, [5] * CLASSES, accuracy, [None] * CLASSES, 0.1, 0.2, "error rate"),
    )


def made_run(folder: Path, results: Results) -> Path:
    """The folder of a finished run."""
    results.save(folder / "results.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(results.config))
    return folder


def made_comparison(
    folder: Path, settings: list[str], methods: list[str], n_seeds: int, first: int = 0, phases: int = 2, **options: Any
) -> Path:
    """The folder of a comparison of all pairs, with a table in which nothing failed."""
    pairs = [Pair(setting, method) for setting in settings for method in methods]
    ComparisonPlan(folder, pairs, ["--nb_tasks", "2"], n_seeds).save()
    for number, pair in enumerate(pairs):
        for seed in range(first, first + n_seeds):
            made_run(folder / f"{number}-seed{seed}", made_results(pair.setting, pair.method, seed, phases, **options))
    write_table(folder, {(pair.setting, pair.method): "" for pair in pairs})
    return folder


def write_table(folder: Path, failures: dict[tuple[str, str], str]) -> None:
    """The columns of `comparison.csv` that a report reads."""
    with (folder / "comparison.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "method", "failure"])
        writer.writerows([*pair, failure] for pair, failure in failures.items())


def made_sweep(folder: Path) -> Path:
    """The folder of a sweep of two options by two objectives, without the runs of its best configuration."""
    states = ["complete", "complete", "complete", "pruned", "failed"]
    trials = [
        {
            "number": number,
            "parameters": {"lr": 10.0 ** -(1 + number % 3), "policy": "ab"[number % 2]},
            "state": state,
            "values": [0.5 + 0.1 * (number % 2), 1e9 + 1e8 * number] if state == "complete" else [],
            "curve": [0.5],
            "seconds": 1.5,
            "flops": 1e9 + 1e8 * number,
            "reason": "no room" if state == "failed" else "",
        }
        for number, state in enumerate(states)
    ]
    content = {
        "setting": "s",
        "method": "m",
        "protocol": "all_tasks",
        "phases": 2,
        "objectives": ["accuracy", "flops"],
        "directions": ["maximize", "minimize"],
        "measure": "accuracy",
        "scored_on": "on held-out samples",
        "validation": 0.1,
        "space": {"lr": "log:1e-3..1", "policy": ["a", "b"]},
        "arguments": ["--passes", "1", "--run_dir", "somewhere"],
        "seeds": 2,
        "class_orders": None,
        "cost": {"trials": 5, "flops": 6e9, "seconds": 7.5},
        "best": trials[1],
        "pareto_front": [1, 0],
        "importances": {"accuracy": {"lr": 0.75, "policy": 0.25}, "flops": {"lr": 1.0, "policy": 0.0}},
        "trials": trials,
    }
    write_json(folder / "sweep.json", content)
    return folder

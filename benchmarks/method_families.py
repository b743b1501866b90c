"""Accuracy and cost of all methods on the 60,000 images of Fashion-MNIST, with and without task ids at test.

Class- and task-incremental, 5 tasks of 2 classes in an order drawn from the seed, one pass, an MLP, 500 samples stored
where a method stores any, default options but for those, 3 seeds. Joint training has settings of its own. It is a
comparison as the command line makes it, two runs at a time; other programs ran beside, so the time is that of the
fastest seed. Called again with the same folder, it goes on where it stopped.

Run: python benchmarks/method_families.py --data_dir DIR --run_dir DIR. Writes benchmarks/results/method_families.*.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from common import environment, markdown_table, write
from rich.console import Console

from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.comparisons.compare import compare, resume_comparison
from redwood.experiments.launchers.choice import LaunchOptions
from redwood.experiments.launchers.plan import is_comparison
from redwood.methods import METHODS, get_method
from redwood.settings import get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.scores.results import Results

SETTINGS = ("class_incremental", "task_incremental")
UPPER_BOUNDS = {"cumulative": "class_incremental", "multi_task": "task_incremental"}  # and where they are one
SEEDS, AT_ONCE = 3, 2
# Asynchronous rehearsal is rehearsal on one worker, and moving windows and local models are for drifting streams.
LEFT_OUT = ("async_rehearsal", "moving_window", "just_in_time")


def pairs() -> list[Pair]:
    """What is compared."""
    chosen = [Pair(setting, method) for setting in SETTINGS for method in METHODS if method not in LEFT_OUT]
    chosen += [Pair("cumulative", "joint"), Pair("multi_task", "finetune")]
    return [pair for pair in chosen if why_not_applicable(get_setting(pair.setting), get_method(pair.method)) is None]


def arguments(data_dir: str, run_dir: str) -> list[str]:
    """Options of all runs; each takes its own."""
    data = ["--dataset", "fashion_mnist", "--data_dir", data_dir, "--nb_tasks", "5", "--passes", "1"]
    learner = ["--model", "mlp", "--buffer_size", "500", "--accelerator", "cpu"]
    return [*data, *learner, "--run_dir", run_dir, "--quiet"]


def table(rows: list[dict[str, str]], setting: str, folder: Path) -> list[dict[str, Any]]:
    """The methods on one setting, the best first, and its upper bound."""
    chosen = [row for row in rows if setting in (row["setting"], UPPER_BOUNDS.get(row["setting"]))]
    return [cells(row, folder) for row in sorted(chosen, key=lambda row: -float(row["average_accuracy"]))]


def cells(row: dict[str, str], folder: Path) -> dict[str, Any]:
    """One line of the table."""
    runs = [Results.load(path) for path in folder.glob(f"{row['setting']}-{row['method']}-seed*/results.json")]
    where = f" ({row['setting']})" if row["setting"] in UPPER_BOUNDS else ""
    forgetting = f"{float(row['forgetting']):.3f}" if row["forgetting"] else ""
    return {
        "method": row["method"] + where,
        "average accuracy": f"{float(row['average_accuracy']):.3f} +- {float(row['average_accuracy_std']):.3f}",
        "forgetting": forgetting,
        "GFLOPs": float(row["training_flops"]) / 1e9,
        "seconds": min(run.cost.wall_time_s for run in runs),
        "peak memory, MB": float(row["peak_memory_bytes"]) / 1e6,
        "stored, kB": float(row["buffer_bytes"]) / 1e3,
        "parameters, thousands": float(row["parameters"]) / 1e3,
    }


def below_finetune(rows: list[dict[str, str]]) -> list[str]:
    """Methods that are less accurate than fine-tuning, for each setting."""
    sentences = []
    for setting in SETTINGS:
        accuracy = {row["method"]: float(row["average_accuracy"]) for row in rows if row["setting"] == setting}
        names = [name for name, value in accuracy.items() if value < accuracy["finetune"]]
        sentences.append(f"Below finetune in {setting}: {', '.join(names) or 'none'}.")
    return sentences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--run_dir", default="runs/method_families")
    options = parser.parse_args()
    folder, console = Path(options.run_dir), Console()
    if is_comparison(folder):
        complete = resume_comparison(folder, console, LaunchOptions(jobs=AT_ONCE))
    else:
        complete = compare(
            pairs(), arguments(options.data_dir, options.run_dir), SEEDS, console, LaunchOptions(jobs=AT_ONCE)
        )
    assert complete, "runs failed; see above"
    with (folder / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tables = {setting: table(rows, setting, folder) for setting in SETTINGS}
    judged = below_finetune(rows)
    text = [part for setting in SETTINGS for part in (f"`{setting}`:", markdown_table(tables[setting]))]
    content = {**environment(), "rows": rows, "verdicts": judged}
    write("method_families", content, "\n\n".join([*text, *judged]))


if __name__ == "__main__":
    main()

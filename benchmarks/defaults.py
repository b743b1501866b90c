"""Do defaults help at home? Average accuracy of each method with its default options, beside fine-tuning.

A method's home are the settings that its paper is about. All are on digits, with default options of method and setting
but for `passes` of the permuted and rotated streams: three of them forget as much as twenty do, in a fraction of the
time. Accuracy on five of their tasks is that of the runs on ten, after five phases: no method knows what follows.
Strengths were compared on seeds 0 to 2. The seeds of the cells with five seeds were looked at once, with the present
strengths. What stays below fine-tuning by more than a standard deviation of the difference has its reason beside it.

Run: python benchmarks/defaults.py [CELL ...]. Writes benchmarks/results/defaults.*; cells that are not named (default:
all are run) are taken from there.
"""

import json
import sys
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

PENALTIES = ("ewc", "si", "mas", "rwalk")
FRESH = range(20, 25)
GAIN = 0.02  # that penalties have to bring on digits split by class, with ids; elsewhere they must not lose


@dataclass(frozen=True)
class Cell:
    """A setting, and the methods that are at home there.

    Attributes:
        setting: Its key.
        methods: Their keys; `finetune` is run in all cells.
        seeds: The seeds of the runs.
        options: Options of the setting.
        after: Numbers of tasks; for each, the average accuracy on so many after as many phases (0: all).
    """

    setting: str
    methods: tuple[str, ...]
    seeds: range = range(10, 13)
    options: dict[str, Any] = field(default_factory=dict)
    after: tuple[int, ...] = (0,)


def stream(kind: str) -> Cell:
    """Ten permuted or rotated tasks without ids at test."""
    options = {"stream": kind, "nb_tasks": 10, "passes": 3}
    return Cell("domain_incremental", PENALTIES, FRESH, options, after=(5, 10))


REPLAY = ("rehearsal", "async_rehearsal", "er_ace", "der", "der_pp", "agem", "mir")
DISTILLATION = ("lwf", "lwf_mc", "fixed", "hybrid1", "icarl", "two_side", "two_side+rehearsal", "bic", "wa")
STREAMING = ("ncm", "slda", "ranpac")
CELLS = {
    "split, ids": Cell("task_incremental", PENALTIES, FRESH),
    "permuted": stream("permuted"),
    "rotated": stream("rotated"),
    "split, ids, others": Cell("task_incremental", ("packnet", "hat", "pnn", "hard_moe", "lwf", "agem", "widen")),
    "split": Cell("class_incremental", (*REPLAY, "gdumb", *DISTILLATION, *STREAMING, "hard_moe")),
    "split, one pass": Cell("online_class_incremental", (*REPLAY, *DISTILLATION, *STREAMING)),
    "split, ids, one pass": Cell(
        "online_task_incremental", (*PENALTIES, "packnet", "hat", "pnn", "hard_moe", "lwf", "widen")
    ),
    "all at once": Cell("traditional", ("dtp", "hard_moe")),
}
FROZEN = "little is forgotten in nine steps a task; weights that are frozen cannot improve for later tasks"
REASONS: dict[tuple[str, str], str] = {
    ("split, ids, one pass", "packnet"): FROZEN,
    ("split, ids, one pass", "hat"): FROZEN,
    ("split, one pass", "lwf"): "nothing keeps the cross-entropy of new samples from lowering all old classes",
}
# Accuracy by seed, by method.
Raw = dict[str, list[float]]


def accuracies(name: str) -> dict[str, Raw]:
    """Average accuracy of the methods of a cell, for each of its numbers of tasks."""
    cell = CELLS[name]
    raw: dict[str, Raw] = {label(name, n): {} for n in cell.after}
    for method in ("finetune", *cell.methods):
        settings = [get_setting(cell.setting)(seed=seed, **cell.options) for seed in cell.seeds]
        matrices = [setting.apply(get_method(method)(), **RUN_OPTIONS).accuracy_matrix for setting in settings]
        for n in cell.after:
            values = [mean(rows[-1] if n == 0 else rows[n - 1][:n]) for rows in matrices]
            raw[label(name, n)][method] = values
            print(label(name, n), method, [round(value, 3) for value in values], flush=True)
    return raw


def label(cell: str, num_tasks: int) -> str:
    """How a cell is called after so many tasks."""
    return f"{cell}, {num_tasks} tasks" if num_tasks else cell


def row_of(cell: str, method: str, raw: Raw) -> dict[str, Any]:
    """Accuracy, what it is above fine-tuning with the same seeds, and the verdict."""
    gains = [value - lower for value, lower in zip(raw[method], raw["finetune"], strict=True)]
    return {
        "cell": cell,
        "method": method,
        "accuracy": f"{mean(raw[method]):.3f} +- {stdev(raw[method]):.3f}",
        "gain on finetune": f"{mean(gains):+.3f} +- {stdev(gains):.3f}",
        "": verdict(cell, method, mean(gains), stdev(gains)),
    }


def verdict(cell: str, method: str, gain: float, spread: float) -> str:
    """Whether the bar is reached; for other methods, why one stays below fine-tuning."""
    if method in PENALTIES and "one pass" not in cell:
        bar = GAIN if cell == "split, ids" else 0.0
        return f"bar {bar:+.2f}: {'reached' if gain >= bar else 'missed'}"
    if gain >= 0:
        return ""
    return REASONS.get((cell, method), "within the deviation" if gain >= -spread else "below")


def main() -> None:
    use_one_thread()
    file = RESULTS / "defaults.json"
    known: dict[str, Raw] = json.loads(file.read_text())["accuracy"] if file.exists() else {}
    for name in sys.argv[1:] or CELLS:
        known |= accuracies(name)
        labels = {label(cell, n): cell for cell in CELLS for n in CELLS[cell].after}
        done = {title: known[title] for title in labels if title in known}
        rows = [row_of(cell, method, raw) for cell, raw in done.items() for method in raw]
        title = "Average accuracy on digits at default options, by cell:"
        where = [
            {"cell": cell, "setting": CELLS[cell].setting, "options": str(CELLS[cell].options or "")}
            | {"seeds": f"{CELLS[cell].seeds.start} to {CELLS[cell].seeds.stop - 1}"}
            for cell in dict.fromkeys(labels[title] for title in done)
        ]
        parts = [title, markdown_table(rows), "Where:", markdown_table(where)]
        write("defaults", {**environment(), "accuracy": done}, "\n\n".join(parts))


if __name__ == "__main__":
    main()

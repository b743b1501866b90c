"""What a share of the labels brings, by how they are chosen; and what samples without labels bring.

Five checks, each over 5 seeds; all but the last in one pass over the stream (`--setting label_budget`):

- `rules`: 10 % of the labels, one task: fine-tuning and rehearsal by each query rule, and with all labels.
- `tasks`: the same in five tasks of two classes, with rehearsal.
- `budgets`: accuracy against the share of the labels, at random and by margin, `results/label_budget.png`.
- `unlabelled`: pseudo-labels and the consistency of two views, at 2 % of the labels.
- `background`: a negative class on digits: 0 to 5 are learned, 6 and 7 are background, 8 and 9 are never shown.

Run: python benchmarks/label_budget.py [--data_dir DIR] [--only rules tasks ...] [--seeds 5].
With `--data_dir` the data are the 60,000 images of Fashion-MNIST there, else scikit-learn's digits.
Writes benchmarks/results/label_budget.* (on digits label_budget_digits.*); what is not run keeps its earlier figures.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write
from matplotlib.figure import Figure

from redwood.branches.label_budget.setting import LabelBudgetSetting
from redwood.methods import Finetune, Rehearsal, get_method
from redwood.methods.lightning import LightningMethod
from redwood.settings import ClassIncrementalSetting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import Results

RULES = ("random", "margin", "entropy", "core_set")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
TRAINING = {"optimizer": "adam", "lr": 0.001}
PARTS = ("rules", "tasks", "budgets", "unlabelled", "background")

Found = dict[str, Any]


class Bench:
    """Runs on one data set, over several seeds."""

    def __init__(self, data: Dataset, seeds: int) -> None:
        """Run on `data`; a batch of digits is smaller, as there are fewer."""
        self.data, self.seeds = data, seeds
        self.batch_size = 32 if len(data.y) > 10_000 else 8

    def runs(
        self, make: Any, share: float, num_tasks: int = 1, *, query_rule: str = "random", **options: Any
    ) -> list[Results]:
        """One run for each seed; `make` is the class of the method, which gets `options`."""
        replay = {"buffer_size": len(self.data.y) // 10, "replay_ratio": 4.0} if issubclass(make, Rehearsal) else {}
        found = []
        for seed in range(self.seeds):
            setting = LabelBudgetSetting(
                dataset=self.data,
                label_budget=share,
                query_rule=query_rule,
                nb_tasks=num_tasks,
                batch_size=self.batch_size,
                seed=seed,
            )
            method: LightningMethod = make(**TRAINING | replay | options)
            found.append(setting.apply(method, **RUN_OPTIONS))
        return found


def error_of(values: Sequence[float]) -> float:
    """The standard error of a mean."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def against(values: Sequence[float], base: Sequence[float]) -> str:
    """The gain on `base`, in standard errors of the difference of two means."""
    error = math.hypot(error_of(values), error_of(base))
    gain = mean(values) - mean(base)
    return f"{gain:+.2f}" + (f" ({gain / error:+.1f} s.e.)" if error else "")


def row_of(name: Mapping[str, str], found: Sequence[Results], base: Sequence[Results]) -> Found:
    """One line of a table."""
    values, others = ([100 * results.objective for results in runs] for runs in (found, base))
    online = [100 * (results.metrics["online_accuracy"] or 0) for results in found]
    row = {
        **name,
        "labels": sum(phase[-1] for phase in found[0].labels_used),
        "accuracy": f"{mean(values):.2f} +- {stdev(values) if len(values) > 1 else 0:.2f}",
        "against random": "" if found is base else against(values, others),
        "online": f"{mean(online):.2f}",
        "GFLOP": round(sum(results.cost.total_flops for results in found) / len(found) / 1e9, 1),
        "runs": [round(value, 2) for value in values],
    }
    print(row, flush=True)
    return row


def rules(bench: Bench, num_tasks: int = 1) -> Found:
    """Each rule at 10 % of the labels, and all labels."""
    rows = []
    for make in (Finetune, Rehearsal) if num_tasks == 1 else (Rehearsal,):
        base: list[Results] = []
        for rule in RULES:
            found = bench.runs(make, 0.1, num_tasks, query_rule=rule)
            base = base or found
            rows.append(row_of({"method": make.reference(), "rule": rule}, found, base))
        if num_tasks == 1:
            every = bench.runs(make, 1.0)
            rows.append(row_of({"method": make.reference(), "rule": "all labels"}, every, base))
    return {"rows": rows}


def budgets(bench: Bench) -> Found:
    """Accuracy at each share of the labels."""
    rows = []
    for share in SHARES:
        base = bench.runs(Rehearsal, share, query_rule="random")
        rows.append(row_of({"share": f"{share:g}", "rule": "random"}, base, base))
        found = bench.runs(Rehearsal, share, query_rule="margin")
        rows.append(row_of({"share": f"{share:g}", "rule": "margin"}, found, base))
    return {"rows": rows}


def unlabelled(bench: Bench) -> Found:
    """What stays without labels, at 2 % of the labels."""
    rows = []
    base: list[Results] = []
    joined = get_method("semi_supervised+rehearsal")
    for name, make, options in (
        ("labels alone", Rehearsal, {}),
        ("pseudo_labels 0.95", joined, {"pseudo_labels": 0.95}),
        ("consistency 10", joined, {"pseudo_labels": 0.0, "consistency": 10.0}),
        ("both", joined, {"pseudo_labels": 0.95, "consistency": 10.0}),
    ):
        found = bench.runs(make, 0.02, **options)
        base = base or found
        row = row_of({"losses": name}, found, base)
        row["against labels alone"] = row.pop("against random")
        rows.append(row)
    return {"rows": rows}


def digits_from(low: int, high: int) -> Dataset:
    """The digits from `low` to `high` - 1 as a data set."""
    data = load_dataset("digits", Path(), seed=0, image_size=0)
    own, own_test = ((y >= low) & (y < high) for y in (data.y, data.y_test))
    y, y_test = data.y[own] - low, data.y_test[own_test] - low
    return Dataset(f"digits {low} to {high - 1}", data.x[own], y, data.x_test[own_test], y_test, max_value=16)


def background(bench: Bench) -> Found:
    """Rehearsal with and without a negative class: accuracy, and the highest scores of what belongs to no class."""
    known, shown, never = digits_from(0, 6), digits_from(6, 8), digits_from(8, 10)
    rows = []
    for name, options in (("rehearsal", {}), ("background+rehearsal", {"background": shown})):
        values: dict[str, list[float]] = {}
        for seed in range(bench.seeds):
            method = get_method(name)(buffer_size=200, **options)
            setting = ClassIncrementalSetting(dataset=known, nb_tasks=3, passes=10, seed=seed)
            values.setdefault("accuracy", []).append(100 * setting.apply(method, **RUN_OPTIONS).objective)
            inside = method.predict(known.x_test, None).amax(1)
            values.setdefault("highest score: known", []).append(float(inside.mean()))
            for kind, data in (("background", shown), ("never shown", never)):
                outside = method.predict(data.x_test, None).amax(1)
                values.setdefault(f"highest score: {kind}", []).append(float(outside.mean()))
                values.setdefault(f"AUROC: {kind}", []).append(float((inside[:, None] > outside).float().mean()))
        rows.append({"method": name} | {key: f"{mean(own):.3g} +- {stdev(own):.2g}" for key, own in values.items()})
        print(rows[-1], flush=True)
    return {"rows": rows}


def draw(rows: Sequence[Mapping[str, Any]], data: str, path: Path) -> None:
    """Accuracy against the labels used, at random and by margin, with standard errors."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for rule, colour in (("margin", "#D55E00"), ("random", "#0072B2")):
        own = [row for row in rows if row["rule"] == rule]
        values, errors = [mean(row["runs"]) for row in own], [error_of(row["runs"]) for row in own]
        axes.errorbar([row["labels"] for row in own], values, errors, color=colour, marker="o", capsize=3, label=rule)
    axes.set_xscale("log")
    used = sorted({row["labels"] for row in rows})
    axes.set_xticks(used, [f"{n:,}" for n in used])
    axes.minorticks_off()
    axes.set_xlabel(f"labels used, of the {data} samples of the stream")
    axes.set_ylabel("accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4", linewidth=0.7)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


TITLES = {
    "rules": "10 % of the labels, one task",
    "tasks": "10 % of the labels, five tasks of two classes",
    "budgets": "Accuracy against the share of the labels, rehearsal",
    "unlabelled": "Samples without labels, 2 % of the labels at random, rehearsal",
    "background": "A negative class: digits 0 to 5 in three tasks, 6 and 7 as background",
}


def report(content: Mapping[str, Any]) -> str:
    """All that was measured, as a page."""
    text = ["# A budget of labels", "", f"{content['data']}, one pass, Adam at 0.001, `mlp`; {content['seeds']} seeds."]
    for part, title in TITLES.items():
        if part in content:
            rows = [{name: value for name, value in row.items() if name != "runs"} for row in content[part]["rows"]]
            text += ["", f"## {title}", "", markdown_table(rows)]
    return "\n".join(text)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    data = load_dataset("fashion_mnist" if options.data_dir else "digits", Path(options.data_dir), seed=0, image_size=0)
    name = "label_budget" if options.data_dir else "label_budget_digits"
    path = RESULTS / f"{name}.json"
    content: Found = json.loads(path.read_text()) if path.exists() else {}
    content |= {"environment": environment(), "data": data.name, "seeds": options.seeds}
    bench = Bench(data, options.seeds)
    checks = {
        "rules": lambda: rules(bench),
        "tasks": lambda: rules(bench, num_tasks=5),
        "budgets": lambda: budgets(bench),
        "unlabelled": lambda: unlabelled(bench),
        "background": lambda: background(bench),
    }
    for part in options.only:
        content[part] = checks[part]()
        write(name, content, report(content))
    if "budgets" in options.only:
        draw(content["budgets"]["rows"], f"{len(data.y):,}", RESULTS / f"{name}.png")


if __name__ == "__main__":
    main()

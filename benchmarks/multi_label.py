"""Rehearsal of samples with several labels, most of them rare: what a buffer keeps, and what is learned.

Three checks:

- `runs`: the generated stream `multi_label` under `class_incremental`, 10 passes, 200 stored samples: rehearsal from a
  plain reservoir and from a partitioning one, between fine-tuning and joint training; F1 by group of labels.
- `classes`: what both buffers of 100 samples keep of ten classes with a long tail (`--imbalance long_tail`).
- `ages`: which share of the stored samples comes from the first tenth of a stream of ten classes alike frequent.

Run: OMP_NUM_THREADS=1 python benchmarks/multi_label.py [--seeds 5]. Writes benchmarks/results/multi_label.*.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write

from redwood.buffers import RehearsalBuffer
from redwood.engine.figures.drawing import COLOURS, new_figure, save_figure, style_axes
from redwood.methods.baselines import Finetune, Joint
from redwood.methods.lightning import LightningMethod
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import Auto, ClassIncrementalSetting, CumulativeSetting, OnlineTraditionalSetting
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.measure import LABEL_GROUPS, LABEL_SCORES, SUFFIXES
from redwood.settings.scores.results import Results

PASSES, STORED = 10, 200
PLAIN, PARTITIONING = "rehearsal, reservoir", "rehearsal, partitioning"
OPTIONS: dict[str, Any] = {"optimizer": "adam", "lr": 0.003}
METHODS: dict[str, Callable[[], LightningMethod]] = {
    "finetune": partial(Finetune, **OPTIONS),
    PLAIN: partial(Rehearsal, buffer_size=STORED, **OPTIONS),
    f"{PARTITIONING}:rho=0.5": partial(
        Rehearsal, buffer_size=STORED, buffer_policy={"partitioning": {"rho": 0.5}}, **OPTIONS
    ),
    PARTITIONING: partial(Rehearsal, buffer_size=STORED, buffer_policy="partitioning", **OPTIONS),
    "joint": partial(Joint, **OPTIONS),
}
BALANCE, LEVEL, AGES = 4.0, 2.5, (0.05, 0.2)  # the bars

Found = dict[str, Any]


def runs(seeds: int) -> Found:
    """Each method on the generated stream: its scores of each seed, and what its buffer holds of each label."""
    found: Found = {}
    for name, make in METHODS.items():
        setting = CumulativeSetting if name == "joint" else ClassIncrementalSetting
        scores, stored = [], []
        for seed in range(seeds):
            method = make()
            results: Results = setting(dataset="multi_label", passes=PASSES, seed=seed).apply(method, **RUN_OPTIONS)
            scores.append(results.metrics)
            if isinstance(method, Rehearsal):
                kept = method.buffer.read(torch.arange(len(method.buffer)))["y"]
                stored.append(kept.sum(0).tolist())
        found[name] = {"metrics": scores, "stored": stored}
        print(name, [round(100 * one["cf1_minority"], 1) for one in scores], flush=True)
    return found


def labelled(n: int) -> Dataset:
    """`n` samples of each of ten classes, which say no more than their labels."""
    y = torch.arange(10).repeat(n)
    return Dataset.from_arrays(y[:, None].float(), y, y[:10, None].float(), y[:10], name="labels")


def arrivals(seed: int, per_class: int, imbalance: str = "") -> torch.Tensor:
    """The labels of an iid stream in the order in which they come."""
    setting = OnlineTraditionalSetting(
        dataset=labelled(per_class), stream=Auto(imbalance=imbalance), seed=seed, batch_size=10
    )
    (phase,) = setting.phases()
    return torch.cat([batch.y for batch in phase.train])


def kept(policy: str, y: torch.Tensor, seed: int) -> torch.Tensor:
    """The arrivals (100,) that a buffer of 100 samples holds at the end."""
    buffer = RehearsalBuffer(100, policy=policy, seed=seed)
    for places in torch.arange(len(y)).split(10):
        buffer.add({"arrival": places}, labels=y[places])
    arrival: torch.Tensor = buffer.read(torch.arange(100))["arrival"]
    return arrival


def classes(seeds: int) -> Found:
    """Most and least samples of a class in the buffer, after a stream with a long tail."""
    found: Found = {}
    for policy in ("reservoir", "partitioning"):
        counts = []
        for seed in range(seeds):
            y = arrivals(seed, 2000, "long_tail")
            counts.append(y[kept(policy, y, seed)].bincount(minlength=10).tolist())
        found[policy] = counts
    return found


def ages(seeds: int) -> dict[str, list[float]]:
    """The share of the stored samples that came with the first tenth of the stream."""
    found: dict[str, list[float]] = {}
    for policy in ("reservoir", "partitioning"):
        shares = []
        for seed in range(seeds):
            y = arrivals(seed, 300)
            shares.append(float((kept(policy, y, seed) < len(y) / 10).double().mean()))
        found[policy] = shares
    return found


def balance(stored: list[list[int]]) -> float:
    """Smallest by largest count of a label in the buffer, mean over seeds."""
    return mean(min(counts) / max(counts) for counts in stored)


def gap(found: Found) -> tuple[float, float]:
    """How far minority F1 of partitioning lies above the reservoir's, and its standard error, over the same seeds."""
    pairs = zip(found[PARTITIONING]["metrics"], found[PLAIN]["metrics"], strict=True)
    gains = [100 * (one["cf1_minority"] - other["cf1_minority"]) for one, other in pairs]
    return mean(gains), stdev(gains) / len(gains) ** 0.5


def report(content: Found) -> str:
    """The tables and the verdicts."""
    found, rows = content["runs"], []
    for name, outcome in found.items():
        values = outcome["metrics"]
        row = {"method": name}
        for score in LABEL_SCORES:
            row |= {"mAP" if score == "map" else score.upper(): f"{100 * mean(one[score] for one in values):.1f}"}
        for group in LABEL_GROUPS:
            scores = [100 * one[f"cf1_{group}"] for one in values]
            row[f"CF1, {group}"] = f"{mean(scores):.1f} +- {stdev(scores):.1f}"
        row["forgetting of CF1"] = f"{100 * mean(one['forgetting_cf1'] for one in values):.1f}"
        stored = outcome["stored"]
        row["rarest / commonest label stored"] = f"{balance(stored):.3f}" if stored else ""
        rows.append(row)
    ratio = balance(found[PARTITIONING]["stored"]) / max(balance(found[PLAIN]["stored"]), 1e-9)
    gain, error = gap(found)
    level = [max(counts) / max(min(counts), 1) for counts in content["classes"]["partitioning"]]
    share = content["ages"]["partitioning"]
    seeds = len(share)
    verdicts = [
        f"Rarest by commonest label stored: partitioning has {ratio:.1f} times the reservoir's "
        f"(bar {BALANCE:g}: {_reached(ratio >= BALANCE)}).",
        f"Minority CF1: partitioning is {gain:.1f} points above the reservoir, standard error {error:.1f} "
        f"(bar 2 standard errors: {_reached(gain >= 2 * error)}).",
        f"Long tail of classes, commonest by rarest class stored: partitioning at most {max(level):.2f} "
        f"(bar {LEVEL:g}: {_reached(max(level) <= LEVEL)}), the reservoir at least "
        f"{min(max(counts) / max(min(counts), 1) for counts in content['classes']['reservoir']):.0f}.",
        f"Share of the first tenth of an iid stream: partitioning {min(share):.2f} to {max(share):.2f} "
        f"(bar {AGES[0]:g} to {AGES[1]:g}: {_reached(AGES[0] <= min(share) and max(share) <= AGES[1])}), the reservoir "
        f"{min(content['ages']['reservoir']):.2f} to {max(content['ages']['reservoir']):.2f}.",
    ]
    lines = [
        "# Several labels a sample",
        "",
        f"Generated stream `multi_label`, `class_incremental`, {PASSES} passes, {STORED} stored samples, Adam at "
        f"{OPTIONS['lr']}, mean +- standard deviation of {seeds} seeds, in percent (`joint`: `cumulative`).",
        "",
        markdown_table(rows),
        "",
        *(f"- {verdict}" for verdict in verdicts),
    ]
    return "\n".join(lines)


def _reached(passed: bool) -> str:
    return "reached" if passed else "missed"


def picture(found: Found) -> None:
    """What the buffers hold of each label, and F1 by group."""
    figure = new_figure(8.6, 3.4)
    left, right = figure.subplots(1, 2)
    names = {PLAIN: "reservoir", PARTITIONING: "partitioning"}
    for colour, (name, shown) in zip(COLOURS, names.items(), strict=False):
        counts = np.array(found[name]["stored"]).mean(0)
        left.plot(range(len(counts)), counts, color=colour, marker="o", markersize=3, label=shown)
    style_axes(left, "label, from frequent to rare", f"of {STORED} stored samples")
    left.set_ylim(0)
    width = 0.8 / len(found)
    for place, (colour, (name, outcome)) in enumerate(zip(COLOURS[2:] + COLOURS[:2], found.items(), strict=False)):
        values = np.array([[100 * one[f"cf1{suffix}"] for suffix in SUFFIXES] for one in outcome["metrics"]])
        colour = COLOURS[list(names).index(name)] if name in names else colour
        at = np.arange(len(SUFFIXES)) + (place - (len(found) - 1) / 2) * width
        right.bar(at, values.mean(0), width, color=colour, yerr=values.std(0, ddof=1), label=name.split(", ")[-1])
    right.set_xticks(range(len(SUFFIXES)), ["all labels", *LABEL_GROUPS])
    style_axes(right, "", "per-class F1 (%)")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(found), frameon=False)
    save_figure(figure, RESULTS / "multi_label.png")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    use_one_thread()
    content = {"classes": classes(seeds), "ages": ages(seeds), "runs": runs(seeds), "environment": environment()}
    write("multi_label", content, report(content))
    picture(content["runs"])


if __name__ == "__main__":
    main()

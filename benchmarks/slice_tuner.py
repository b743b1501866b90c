"""What to buy of each slice: Slice Tuner against the same for each slice and against water filling, on digits.

Ten classes of which 6 to 45 samples are there at the start, in an order that the seed draws; a budget of 200 samples;
logistic regression. It is the offline form of the experiments of Tae & Whang (SIGMOD 2021), section 6.

The learning curves are measured twice: on samples that a training leaves out, and on validation samples of their own,
as in the paper.

Bars: the largest equalised error rate of `slice_tuner` (moderate) is at most 0.8 times that of `uniform`, and its mean
loss is not above that of `uniform`.

Run: python benchmarks/slice_tuner.py [--seeds 4]. Writes benchmarks/results/slice_tuner.*.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write
from gymnasium.spaces import Box
from torch import nn

from redwood.branches.acquisition.buyers import Buyer, Uniform, WaterFilling
from redwood.branches.acquisition.purchases import plot_purchases
from redwood.branches.acquisition.results import AcquisitionResults
from redwood.branches.acquisition.setting import AcquisitionSetting
from redwood.branches.acquisition.slice_tuner import SliceTuner
from redwood.methods.networks import Scale
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.image_sets import digits

SIZES = [round(size) for size in np.linspace(6, 45, 10)]
BUDGET, ROUNDS, PASSES = 200.0, 3, 30
BAR = 0.8
KEPT = 40  # validation samples of each class, in the second part


def linear(observation_space: Box, n_outputs: int) -> nn.Sequential:
    """Logistic regression."""
    return nn.Sequential(
        Scale(observation_space), nn.Flatten(), nn.Linear(math.prod(observation_space.shape), n_outputs)
    )


NETWORK: dict[str, Any] = {"model": f"{Path(__file__).resolve()}:linear", "optimizer": "adam", "lr": 0.01}
METHODS: dict[str, Callable[[], Buyer]] = {
    "uniform": partial(Uniform, **NETWORK),
    "water_filling": partial(WaterFilling, **NETWORK),
    "slice_tuner moderate": partial(SliceTuner, change="moderate", **NETWORK),
}


def digits_with_validation(kept: int, seed: int) -> Dataset:
    """The digits, of which so many training samples of each class are kept for validation."""
    data = digits(Path(), seed=seed, image_size=0)
    random, mask = torch.Generator().manual_seed(seed), torch.zeros(len(data.y), dtype=torch.bool)
    for label in range(data.n_classes):
        rows = (data.y == label).nonzero().flatten()
        mask[rows[torch.randperm(len(rows), generator=random)[:kept]]] = True
    return replace(data, validation=mask if kept else None)


def run(make: Callable[[], Buyer], data: Dataset, seed: int) -> AcquisitionResults:
    """One run; the seed draws which class is rare, too."""
    initial = np.random.default_rng(seed).permutation(SIZES).tolist()
    setting = AcquisitionSetting(dataset=data, seed=seed, initial=initial, budget=BUDGET, rounds=ROUNDS, passes=PASSES)
    results = setting.apply(make(), **RUN_OPTIONS)
    assert isinstance(results, AcquisitionResults) and math.isclose(sum(results.spent), BUDGET)
    return results


def scores(results: AcquisitionResults, phase: int) -> dict[str, float]:
    """Mean loss, equalised error rates and accuracy after a phase."""
    losses = np.array(results.slice_losses[phase], dtype=np.float64)
    gaps = np.abs(losses - losses.mean())
    return {
        "loss": float(losses.mean()),
        "average EER": float(gaps.mean()),
        "largest EER": float(gaps.max()),
        "accuracy (%)": 100 * float(np.mean(np.array(results.accuracy_matrix[phase], dtype=np.float64))),
    }


def row(name: str, found: list[dict[str, float]], trained: float | None) -> dict[str, Any]:
    """Means and deviations over the seeds."""
    cells: dict[str, Any] = {"method": name}
    for key in found[0]:
        values, digits = [one[key] for one in found], 1 if "%" in key else 3
        cells[key] = f"{mean(values):.{digits}f} +- {stdev(values):.{digits}f}"
    return cells | {"MFLOP of curves": "" if trained is None else round(trained / 1e6)}


def compare(kept: int, seeds: int) -> dict[str, Any]:
    """All methods, where so many samples of each class are kept for validation: rows, purchases and the bar."""
    rows: list[dict[str, Any]] = []
    purchases: dict[str, list[list[list[int]]]] = {}
    ends: dict[str, list[dict[str, float]]] = {}
    for name, make in METHODS.items():
        results = [run(make, digits_with_validation(kept, seed), seed) for seed in range(seeds)]
        if not rows:
            rows.append(row("nothing bought", [scores(one, 0) for one in results], None))
        ends[name] = [scores(one, -1) for one in results]
        rows.append(row(name, ends[name], mean(sum((one.cost.flops or {})["search"]) for one in results)))
        purchases[name] = [one.slice_sizes for one in results]
        print(kept, rows[-1], flush=True)
        if name == "slice_tuner moderate" and not kept:
            plot_purchases(results[0], RESULTS / "slice_tuner.png")
    tuned, uniform = (
        {key: mean(one[key] for one in ends[name]) for key in ("largest EER", "average EER", "loss")}
        for name in ("slice_tuner moderate", "uniform")
    )
    ratios = {key: tuned[key] / uniform[key] for key in tuned}
    return {"kept": kept, "rows": rows, "sizes": purchases, "against uniform": ratios, "met": met(ratios)}


def met(ratios: dict[str, float]) -> bool:
    """Whether the bars are met by these ratios to `uniform`."""
    return ratios["largest EER"] <= BAR and ratios["loss"] <= 1


def told(part: dict[str, Any]) -> list[str]:
    """A part of the report."""
    kept, ratios = part["kept"], part["against uniform"]
    measured = f"on {kept} validation samples of each class" if kept else "on samples that a training leaves out"
    return [
        f"## Curves measured {measured}",
        "",
        markdown_table(part["rows"]),
        "",
        f"`slice_tuner` moderate against `uniform`: largest EER {ratios['largest EER']:.2f} times (bar: {BAR}), "
        f"average EER {ratios['average EER']:.2f} times, loss {ratios['loss']:.2f} times (bar: 1). "
        f"{'Met.' if part['met'] else 'Missed.'}",
        "",
    ]


def main() -> None:
    """Run all methods, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    seeds = parser.parse_args().seeds
    use_one_thread()
    warnings.filterwarnings("ignore", message="slice_tuner spends the same")
    parts = [compare(kept, seeds) for kept in (0, KEPT)]
    text = [
        "# Slice Tuner on digits",
        "",
        f"Ten slices of 6 to 45 samples, a budget of {BUDGET:g}, {ROUNDS} rounds, {seeds} seeds; mean and deviation.",
        "",
        *(line for part in parts for line in told(part)),
        "![sizes and losses of the slices](slice_tuner.png)",
    ]
    write("slice_tuner", {"parts": parts, "seeds": seeds} | environment(), "\n".join(text))


if __name__ == "__main__":
    main()

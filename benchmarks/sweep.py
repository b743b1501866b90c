"""Whether a sweep finds the learning rate that a grid of the whole range finds, and what it costs.

`rehearsal` learns 5 tasks of two digits in one pass. The best learning rate lies somewhere in four decades: a grid of
13 values, three in each decade, shows where, on the same held-out samples. A sweep of 24 trials does not know it. The
pick of each, the best of the grid by its tests (which nobody may choose by), and the default are then tested.

Run: OMP_NUM_THREADS=1 python benchmarks/sweep.py [--seeds 3] [--picture FILE].
Writes benchmarks/results/sweep.{json,md}.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write

from redwood.cli import main as command_line
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassIncrementalSetting
from redwood.settings.results import Results

LOW, HIGH, TRIALS = 1e-4, 1.0, 24
GRID = [float(value) for value in np.geomspace(LOW, HIGH, 13)]
DEFAULT = Rehearsal.lr

Found = dict[str, Any]


def run(lr: float, seed: int, **options: Any) -> Results:
    """A run with a learning rate."""
    setting = ClassIncrementalSetting(seed=seed, passes=1, **options)
    return setting.apply(Rehearsal(lr=lr), **RUN_OPTIONS)


def held_out(lr: float, seed: int) -> float:
    """The average accuracy on a tenth of the training samples, without tests."""
    score = run(lr, seed, validation=0.1, eval_tasks="none").tuning_curve[-1]
    assert score is not None
    return score


def sweep(seed: int) -> Found:
    """What `--sweep` has found: the content of `sweep.json`, and the test accuracy of its best run."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["--setting", "class_incremental", "--method", "rehearsal", "--passes", "1", "--seed", str(seed)]
        swept = ["--sweep", f"lr=log:{LOW}..{HIGH}", "--trials", str(TRIALS), "--jobs", "1", "--quiet"]
        code = command_line([*chosen, *swept, "--run_dir", f"{folder}/sweep"])
        assert code == 0, "the sweep failed; see above"
        found: Found = json.loads(Path(folder, "sweep", "sweep.json").read_text())
        (best,) = Path(folder, "sweep", "best").glob("*/results.json")
        return found | {"tested": Results.load(best).objective}


def measure(seed: int) -> Found:
    """The grid and the sweep of one seed."""
    found = sweep(seed)
    grid = [{"lr": lr, "held_out": held_out(lr, seed), "tested": run(lr, seed).objective} for lr in GRID]
    pick = max(grid, key=lambda point: point["held_out"])
    oracle = max(grid, key=lambda point: point["tested"])
    flops = run(DEFAULT, seed, validation=0.1, eval_tasks="none").cost.total_flops
    return {
        "seed": seed,
        "grid": grid,
        "trials": [
            {"lr": trial["parameters"]["lr"], "curve": trial["curve"], "state": trial["state"]}
            for trial in found["trials"]
        ],
        "sweep": {
            "lr": found["best"]["parameters"]["lr"],
            "held_out": found["best"]["values"][0],
            "tested": found["tested"],
        },
        "grid_pick": pick,
        "grid_oracle": oracle,
        "default": {"lr": DEFAULT, "tested": run(DEFAULT, seed).objective},
        "ended_early": sum(trial["state"] == "pruned" for trial in found["trials"]),
        "share_of_flops": found["cost"]["flops"] / (TRIALS * flops),
    }


def draw(found: Found, path: Path) -> None:
    """Draw the held-out accuracy of the grid and of the trials of one seed."""
    figure, axes = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
    grid, trials, best = found["grid"], found["trials"], found["sweep"]
    rates, scores = [point["lr"] for point in grid], [100 * point["held_out"] for point in grid]
    axes.plot(rates, scores, color="#999999", marker=".", label=f"grid of {len(grid)}")
    whole = [trial for trial in trials if trial["state"] == "complete"]
    rates, scores = [trial["lr"] for trial in whole], [100 * trial["curve"][-1] for trial in whole]
    axes.scatter(rates, scores, s=18, color="#0072B2", zorder=3, label="trials of the sweep")
    ended = [trial["lr"] for trial in trials if trial["state"] == "pruned"]
    axes.plot(ended, [1.0] * len(ended), "|", color="#0072B2", label="ended early")
    axes.plot(best["lr"], 100 * best["held_out"], "o", markersize=11, fillstyle="none", color="#D55E00", label="best")
    axes.set(xscale="log", xlabel="lr", ylabel="held-out accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e4e4")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def report(found: list[Found]) -> str:
    """The tables, in Markdown."""
    rows: list[Found] = []
    for one in found:
        picks = {
            "sweep of 24": one["sweep"],
            "grid of 13": one["grid_pick"],
            "best of the grid by its tests": one["grid_oracle"],
            "default": one["default"],
        }
        rows += [
            {
                "seed": one["seed"],
                "chosen by": name,
                "lr": point["lr"],
                "held out (%)": 100 * point["held_out"] if "held_out" in point else None,
                "tested (%)": 100 * point["tested"],
            }
            for name, point in picks.items()
        ]
    early = ", ".join(f"{one['ended_early']} of {TRIALS}" for one in found)
    share = ", ".join(f"{one['share_of_flops']:.0%}" for one in found)
    return "\n".join(
        [
            markdown_table(rows),
            "",
            f"Trials that ended early, by seed: {early}. FLOPs of the sweep, as a share of those of {TRIALS} whole "
            f"runs: {share}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    use_one_thread()
    found = [measure(seed) for seed in range(options.seeds)]
    write("sweep", {"environment": environment(), "seeds": found}, report(found))
    if options.picture is not None:
        draw(found[0], options.picture)


if __name__ == "__main__":
    main()

"""Hard mixtures of experts: without stored samples, with experts that underfit, and with experts trained side by side.

Three checks, all on scikit-learn's digits:

- `tasks`: class-incremental, 5 tasks, 20 passes, 3 seeds: `hard_moe` against `finetune`, no sample stored.
- `underfit`: all digits at once, 20 passes, 3 seeds: 8 experts of three hidden units against one such network.
- `speed`: 8 experts, `simple_cnn`, all digits at once, on two processes against one. Runs take turns. The wall time is
  that of the whole run with the start of the processes, but not of the server that they are copies of. The machine
  needs two free cores: look at the load. Experts have unequal shares of the samples, and none is divided; the larger
  half has 51 to 55 % of the steps.

Experts are trained together, batch by batch, as is the default; or apart (`--expert_processes`).

Run: python benchmarks/hard_moe.py [--only tasks underfit speed] [--rounds 3] [--passes 400].
Writes benchmarks/results/hard_moe.*; what is not run keeps its earlier figures.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, median_ratio, write

from redwood.branches.modular.hard_moe import HardMoE
from redwood.methods import Finetune
from redwood.settings import get_setting

SEEDS = range(10, 13)
EXPERTS = 8
TINY = f"{Path(__file__).parent / 'mixture.py'}:tanh_expert"
PARTS = ("tasks", "underfit", "speed")
# The bars: points above fine-tuning, points above one network, times the speed of one process.
ABOVE_FINETUNE, ABOVE_ONE, FASTER = 0.40, 0.05, 1.7

Found = dict[str, Any]


def accuracies(setting: str, method: partial[Any]) -> list[float]:
    """Average accuracy after the last task, by seed."""
    return [get_setting(setting)(seed=seed).apply(method(), **RUN_OPTIONS).objective for seed in SEEDS]


def compare(setting: str, methods: dict[str, partial[Any]], bar: float) -> Found:
    """The accuracies of each method, and the gain of each on the first one."""
    values = {name: accuracies(setting, method) for name, method in methods.items()}
    base = mean(next(iter(values.values())))
    rows = [
        {"network": name, "accuracy": f"{mean(found):.3f} +- {stdev(found):.3f}", "gain": f"{mean(found) - base:+.3f}"}
        for name, found in values.items()
    ]
    print(markdown_table(rows), flush=True)
    return {"accuracy": values, "bar": bar, "rows": rows}


def tasks() -> Found:
    """Class-incremental digits."""
    methods = {
        "finetune": partial(Finetune),
        "hard_moe (default)": partial(HardMoE),
        "hard_moe, 2 experts a task": partial(HardMoE, experts=2),
        "hard_moe, trained apart": partial(HardMoE, expert_processes=1),
    }
    return compare("class_incremental", methods, ABOVE_FINETUNE)


def underfit() -> Found:
    """Experts of three hidden units, on all digits at once."""
    methods = {
        "one network": partial(Finetune, model=TINY),
        "8 experts, together": partial(HardMoE, model=TINY, experts=EXPERTS),
        "8 experts, apart": partial(HardMoE, model=TINY, experts=EXPERTS, expert_processes=1),
        "4 experts, 4 splits, together": partial(HardMoE, model=TINY, experts=4, splits=4),
        "4 experts, 4 splits, apart": partial(HardMoE, model=TINY, experts=4, splits=4, expert_processes=1),
    }
    return compare("traditional", methods, ABOVE_ONE)


def timed(processes: int, seed: int, passes: int) -> Found:
    """One run: its seconds, and the load of the machine before it."""
    load = os.getloadavg()[0]
    method = HardMoE(model="simple_cnn", experts=EXPERTS, expert_processes=processes)
    results = get_setting("traditional")(seed=seed, passes=passes).apply(method, **RUN_OPTIONS)
    found = {"seconds": results.cost.wall_time_s, "load": load, "accuracy": results.objective}
    print(f"{processes} process(es), seed {seed}: {found}", flush=True)
    return found


def speed(rounds: int, passes: int) -> Found:
    """One process and two, in turns; each round has a seed of its own, and so a gate that shares samples otherwise."""
    timed(2, seed=0, passes=1)  # libraries set themselves up
    runs: dict[int, list[Found]] = {1: [], 2: []}
    for seed in range(rounds):
        for processes in (1, 2) if seed % 2 else (2, 1):
            runs[processes].append(timed(processes, seed, passes))
    seconds = {processes: [run["seconds"] for run in found] for processes, found in runs.items()}
    ratio = median_ratio(seconds[1], seconds[2])
    rows = [
        {
            "processes": processes,
            "seconds (median)": f"{median(seconds[processes]):.1f}",
            "load before": ", ".join(f"{run['load']:.1f}" for run in found),
            "speed": f"{1.0 if processes == 1 else ratio:.2f}",
            "accuracy": ", ".join(f"{run['accuracy']:.4f}" for run in found),
        }
        for processes, found in runs.items()
    ]
    print(markdown_table(rows), flush=True)
    return {"runs": runs, "speed": ratio, "bar": FASTER, "cores": os.cpu_count(), "passes": passes, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=400)
    options = parser.parse_args()
    use_one_thread()
    path = RESULTS / "hard_moe.json"
    found: Found = json.loads(path.read_text()) if path.exists() else {}
    for part in options.only:
        found[part] = {"tasks": tasks, "underfit": underfit, "speed": partial(speed, options.rounds, options.passes)}[
            part
        ]()
    found = {part: found[part] for part in PARTS if part in found}
    text = "\n\n".join(f"{part} (bar: {found[part]['bar']})\n\n{markdown_table(found[part]['rows'])}" for part in found)
    write("hard_moe", {**environment(), **found}, text)


if __name__ == "__main__":
    main()

"""The runs on held-out seeds that the strengths of the agents' methods were chosen by: three CartPole tasks.

Setting and agents are those of reinforcement.py, whose seeds are others. Each run is written down as soon as it is
over, so a search that was stopped goes on, and a candidate that is added to the list runs alone.

Run: OMP_NUM_THREADS=1 python benchmarks/reinforcement_tuning.py [--only TEXT] [--seeds 100 101 ...] [--processes 2].
Writes benchmarks/results/reinforcement_tuning.*.
"""

import argparse
import json
import multiprocessing
from itertools import product
from statistics import mean
from typing import Any

import torch
from clocked import RUN_OPTIONS
from common import RESULTS, environment, markdown_table, write
from reinforcement import DQN, HEADS, PPO, SETTING

from redwood.methods import get_method
from redwood.settings import get_setting

SEEDS = (100, 101, 102)
AGENTS = {"ppo": PPO, "dqn": DQN}
CANDIDATES: list[tuple[str, dict[str, Any]]] = [
    ("ppo", {}),
    *[("ppo+ewc", {"ewc_lambda": strength}) for strength in (1, 10, 100, 1000)],
    *[("ppo+mas", {"mas_lambda": strength}) for strength in (0.1, 1, 10, 100)],
    *[("ppo+l2", {"l2_lambda": strength}) for strength in (1, 10, 100, 1000)],
    *[("ppo+cloning", {"cloning_coef": strength}) for strength in (0.3, 1, 3)],
    ("ppo+agem", {}),
    ("ppo", HEADS),
    *[("ppo+ewc", {"ewc_lambda": strength} | HEADS) for strength in (1, 10, 100, 1000)],
    *[("ppo+mas", {"mas_lambda": strength} | HEADS) for strength in (10, 100)],
    *[("ppo+l2", {"l2_lambda": strength} | HEADS) for strength in (1, 10)],
]
RUNS = RESULTS / "reinforcement_tuning_runs.jsonl"  # one line for each run

Job = tuple[str, dict[str, Any], int]


def run(job: Job) -> dict[str, Any]:
    """The final returns of one candidate on one seed."""
    torch.set_num_threads(1)
    name, options, seed = job
    setting: Any = get_setting("task_incremental_rl")(seed=seed, **SETTING)
    results = setting.apply(get_method(name)(**AGENTS[name.partition("+")[0]] | options), **RUN_OPTIONS)
    print(name, options, seed, [[round(value) for value in row] for row in results.return_matrix], flush=True)
    return {"method": name, "options": options, "seed": seed, "returns": results.return_matrix}


def key_of(method: str, options: dict[str, Any], seed: int) -> str:
    """What tells one run from another."""
    return json.dumps([method, options, seed], sort_keys=True)


def row_of(method: str, options: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, str]:
    """A line of the table."""
    final = [one["returns"][-1] for one in runs]
    return {
        "method": method,
        "options": ", ".join(f"{name}={value}" for name, value in options.items()),
        "average final return": f"{mean(map(mean, final)):.0f}",
        "of each seed": ", ".join(f"{mean(row):.0f}" for row in final),
        "on task 0, 1, 2": ", ".join(f"{mean(values):.0f}" for values in zip(*final, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="run candidates whose name contains this")
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    lines = RUNS.read_text().splitlines() if RUNS.exists() else []
    runs = {key_of(one["method"], one["options"], one["seed"]): one for one in map(json.loads, lines)}
    jobs: list[Job] = [
        (method, options, seed)
        for seed, (method, options) in product(chosen.seeds, CANDIDATES)
        if chosen.only in method and key_of(method, options, seed) not in runs
    ]
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool, RUNS.open("a") as file:
        for outcome in pool.imap_unordered(run, jobs):
            runs[key_of(outcome["method"], outcome["options"], outcome["seed"])] = outcome
            print(json.dumps(outcome), file=file, flush=True)
    rows = []
    for method, options in CANDIDATES:
        own = [one for one in runs.values() if (one["method"], one["options"]) == (method, options)]
        if own:
            rows.append(row_of(method, options, own))
    text = "\n\n".join([f"Three CartPole tasks, {SETTING['steps_per_task']:,} steps each:", markdown_table(rows)])
    print(text)
    write(
        "reinforcement_tuning", {**environment(), "setting": SETTING, "agents": AGENTS, "runs": [*runs.values()]}, text
    )


if __name__ == "__main__":
    main()

"""Average final return of agents on three CartPole tasks, fine-tuned and with what keeps them from forgetting.

In the last task the motor is reversed, so that no single policy solves all three, and what was learned before is
unlearned. The task is told by its one-hot code, which is an input of the networks; where the name says so, it selects
a head for each task. The agents' options are those of CartPole-v1 in RL Baselines3 Zoo, without its schedules. The
strengths of the methods are their defaults, which were chosen on seeds 100 to 102; the seeds
shown ran once.

Each run is written down as soon as it is over, so a benchmark that was stopped goes on. Runs are shared out to two
processes.

Run: OMP_NUM_THREADS=1 python benchmarks/reinforcement.py [--methods ppo ppo+ewc ...] [--seeds 0 1 ...] [--processes 2].
Writes benchmarks/results/reinforcement.*.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS
from common import RESULTS, environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

SEEDS = range(5)  # strengths were chosen on seeds 100 and 101
SETTING = {"tasks": ["default", "length=2", "force_mag=-10"], "steps_per_task": 16_384, "test_episodes": 20}
PPO = {
    "n_envs": 8,
    "n_steps": 32,
    "batch_size": 256,
    "n_epochs": 20,
    "learning_rate": 1e-3,
    "gamma": 0.98,
    "gae_lambda": 0.8,
}
DQN = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
PACKNET = {"prune_share": 0.6}
HEADS = {"task_input": "heads"}
# What the tables call a method, the method, and its options. The first of an agent is fine-tuned.
AGENTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "ppo": {
        "ppo": ("ppo", PPO),
        "ppo+l2": ("ppo+l2", PPO),
        "ppo+ewc": ("ppo+ewc", PPO),
        "ppo+mas": ("ppo+mas", PPO),
        "ppo+agem": ("ppo+agem", PPO),
        "ppo+cloning": ("ppo+cloning", PPO),
        "ppo+packnet": ("ppo+packnet", PPO | PACKNET),
        "ppo, heads": ("ppo", PPO | HEADS),
    },
    "dqn": {
        "dqn+reset_buffer": ("dqn+reset_buffer", DQN),
        "dqn+rehearsal": ("dqn+rehearsal", DQN | {"buffer_sampler": "task_balanced", "buffer_size": 50_000}),
        "dqn+reset_buffer+ewc": ("dqn+reset_buffer+ewc", DQN),
        "dqn+reset_buffer+agem": ("dqn+reset_buffer+agem", DQN),
        "dqn+reset_buffer+cloning": ("dqn+reset_buffer+cloning", DQN),
        "dqn+reset_buffer+packnet": ("dqn+reset_buffer+packnet", DQN | PACKNET),
        "dqn+reset_buffer, heads": ("dqn+reset_buffer", DQN | HEADS),
    },
}
METHODS = {label: variant for variants in AGENTS.values() for label, variant in variants.items()}
RUNS = RESULTS / "reinforcement_runs.jsonl"  # one line for each run

Outcome = dict[str, Any]
Outcomes = dict[tuple[str, int], Outcome]


def run(job: tuple[str, int]) -> Outcome:
    """The return matrix of one method and seed."""
    torch.set_num_threads(1)
    label, seed = job
    name, options = METHODS[label]
    setting: Any = get_setting("task_incremental_rl")(seed=seed, **SETTING)
    results = setting.apply(get_method(name)(**options), **RUN_OPTIONS)
    print(label, seed, [[round(value) for value in row] for row in results.return_matrix], flush=True)
    return {
        "method": label,
        "seed": seed,
        "returns": results.return_matrix,
        "random": results.random_return,
        "average_return": results.objective,
        "forgetting": results.metrics["forgetting"],
        "online_return": results.metrics["online_return"],
        "wall_time_s": results.cost.wall_time_s,
    }


def earlier_runs(path: Path) -> Outcomes:
    """The runs that are written down."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {(one["method"], one["seed"]): one for one in map(json.loads, lines)}


def complete(
    run: Callable[[tuple[str, int]], Outcome], jobs: Iterable[tuple[str, int]], path: Path, processes: int
) -> Outcomes:
    """Run the jobs that are not written down, write each of them down as soon as it is over, and return all runs."""
    outcomes = earlier_runs(path)
    missing = [job for job in jobs if job not in outcomes]
    with multiprocessing.get_context("spawn").Pool(processes) as pool, path.open("a") as file:
        for outcome in pool.imap_unordered(run, missing):
            outcomes[outcome["method"], outcome["seed"]] = outcome
            print(json.dumps(outcome), file=file, flush=True)
    return outcomes


def gain(outcomes: Outcomes, method: str, base: str, key: str = "average_return") -> tuple[float, float]:
    """Mean and standard error over seeds of what a method has more than another one of the same seed."""
    differences = [
        one[key] - outcomes[base, seed][key]
        for (name, seed), one in outcomes.items()
        if name == method and (base, seed) in outcomes
    ]
    return mean(differences), stdev(differences) / len(differences) ** 0.5


def row_of(method: str, base: str, outcomes: Outcomes) -> dict[str, str]:
    """A line of the table."""
    own = [one for (name, _), one in outcomes.items() if name == method]

    def shown(key: str) -> str:
        values = [one[key] for one in own]
        return f"{mean(values):.0f} +- {stdev(values):.0f}"

    final = [mean(one["returns"][-1][task] for one in own) for task in range(3)]
    gained, error = gain(outcomes, method, base)
    return {
        "method": method,
        "average final return": shown("average_return"),
        "on task 0, 1, 2": ", ".join(f"{value:.0f}" for value in final),
        "forgetting": shown("forgetting"),
        "online return": shown("online_return"),
        "gain on fine-tuning": "" if method == base else f"{gained:+.0f} +- {error:.0f} (standard error)",
        "seconds": f"{mean(one['wall_time_s'] for one in own):.0f}",
    }


def report(outcomes: Outcomes) -> None:
    """Write the table and what it says of the bars."""
    seeds = sorted({seed for _, seed in outcomes})
    parts = [f"Three CartPole tasks, {SETTING['steps_per_task']:,} steps each, seeds {seeds}: {SETTING['tasks']}."]
    verdicts = {}
    for agent, variants in AGENTS.items():
        base = next(iter(variants))
        ran = [name for name in variants if sum(key[0] == name for key in outcomes) > 1]
        if base not in ran:
            continue
        parts.append(markdown_table([row_of(name, base, outcomes) for name in ran]))
        gains = {name: gain(outcomes, name, base) for name in ran if name != base}
        beating = [name for name, (value, error) in gains.items() if value > 2 * error]
        verdicts[agent] = f"{agent}: gains of 2 standard errors or more: {', '.join(beating) or 'none'}."
        parts.append(verdicts[agent])
    text = "\n\n".join(parts)
    print(text)
    runs = [outcomes[key] for key in sorted(outcomes)]
    write("reinforcement", {**environment(), "setting": SETTING, "options": METHODS, "runs": runs} | verdicts, text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    jobs = [(method, seed) for seed, method in product(options.seeds, options.methods)]
    report(complete(run, jobs, RUNS, options.processes))


if __name__ == "__main__":
    main()

"""Average final return of agents on three CartPole tasks, fine-tuned and with what keeps them from forgetting.

In the last task the motor is reversed, so that no single policy solves all three, and what was learned before is
unlearned; the task is told. The agents' options were chosen on seed 9; the seeds shown ran once. Runs are shared out to
two processes.

Run: OMP_NUM_THREADS=1 python benchmarks/reinforcement.py. Writes benchmarks/results/reinforcement.*.
"""

import multiprocessing
from itertools import product
from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

SEEDS = range(3, 6)  # another order of the tasks was run on smaller ones
SETTING = {"tasks": ["default", "length=2", "force_mag=-10"], "steps_per_task": 16_384, "test_episodes": 20}
DQN = {"learning_rate": 1e-3, "target_update_interval": 500}
PACKNET = {"prune_share": 0.6}
AGENTS: dict[str, dict[str, dict[str, Any]]] = {
    "ppo": {
        "ppo": {},
        "ppo+ewc": {},
        "ppo+packnet": PACKNET,
    },
    "dqn": {
        "dqn+reset_buffer": DQN,
        "dqn": DQN,
        "dqn+rehearsal": DQN | {"buffer_sampler": "task_balanced"},
        "dqn+reset_buffer+packnet": DQN | PACKNET,
    },
}
FINETUNED = {"ppo": "ppo", "dqn": "dqn+reset_buffer"}


def run(job: tuple[str, dict[str, Any], int]) -> dict[str, Any]:
    """The return matrix of one method and seed."""
    torch.set_num_threads(1)
    name, options, seed = job
    setting: Any = get_setting("task_incremental_rl")(seed=seed, **SETTING)
    results = setting.apply(get_method(name)(**options), **RUN_OPTIONS)
    print(name, seed, [[round(value) for value in row] for row in results.return_matrix], flush=True)
    return {
        "returns": results.return_matrix,
        "random": results.random_return,
        "average_return": results.objective,
        "forgetting": results.metrics["forgetting"],
        "online_return": results.metrics["online_return"],
        "wall_time_s": results.cost.wall_time_s,
    }


def gain(raw: dict[str, list[dict[str, Any]]], method: str, base: str) -> tuple[float, float]:
    """Mean and standard error over seeds of what a method gains on another one of the same seed."""
    differences = [a["average_return"] - b["average_return"] for a, b in zip(raw[method], raw[base], strict=True)]
    return mean(differences), stdev(differences) / len(differences) ** 0.5


def row_of(method: str, base: str, raw: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """A line of the table."""

    def shown(key: str) -> str:
        values = [one[key] for one in raw[method]]
        return f"{mean(values):.0f} +- {stdev(values):.0f}"

    final = [mean(one["returns"][-1][task] for one in raw[method]) for task in range(3)]
    gained, error = gain(raw, method, base)
    return {
        "method": method,
        "average final return": shown("average_return"),
        "on task 0, 1, 2": ", ".join(f"{value:.0f}" for value in final),
        "forgetting": shown("forgetting"),
        "online return": shown("online_return"),
        "gain on fine-tuning": "" if method == base else f"{gained:+.0f} +- {error:.0f} (standard error)",
    }


def main() -> None:
    methods = {name: options for agent in AGENTS.values() for name, options in agent.items()}
    jobs = [(name, options, seed) for seed, (name, options) in product(SEEDS, methods.items())]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        outcomes = pool.map(run, jobs, chunksize=1)
    raw: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for (name, _, _), outcome in zip(jobs, outcomes, strict=True):
        raw[name].append(outcome)
    parts = [f"Three CartPole tasks, {SETTING['steps_per_task']:,} steps each, {len(SEEDS)} seeds: {SETTING['tasks']}."]
    verdicts = {}
    for agent, variants in AGENTS.items():
        base = FINETUNED[agent]
        parts.append(markdown_table([row_of(name, base, raw) for name in variants]))
        gains = {name: gain(raw, name, base) for name in variants if name != base}
        best = max(gains, key=lambda name: gains[name][0] / max(gains[name][1], 1e-9))
        value, error = gains[best]
        reached = "reached" if value > 2 * error else "missed"
        verdicts[agent] = f"{agent}: {best} gains {value:.0f}, {value / error:.1f} standard errors; bar: 2: {reached}."
        parts.append(verdicts[agent])
    text = "\n\n".join(parts)
    print(text)
    content = {**environment(), "setting": SETTING, "options": methods, "runs": raw, "verdicts": verdicts}
    write("reinforcement", content, text)


if __name__ == "__main__":
    main()

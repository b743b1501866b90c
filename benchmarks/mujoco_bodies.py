"""Continual methods for `sac` on HalfCheetah with three bodies: final return, forgetting and forward transfer.

The bodies are those of the suite `mujoco_halfcheetah_bodies`: its own, half and twice the mass. Networks and budget are
smaller than the suite's, so that a run takes minutes on one core. Each task has its own heads, and the replay memory is
emptied when a task starts, as in Continual World (Wołczyk et al., 2021). The agent's options were tried in short runs
on seeds 0, 100 and 101. The methods have their defaults, but `packnet` prunes .6.

Each run is written down as soon as it is over, so a benchmark that was stopped goes on.

Run: OMP_NUM_THREADS=1 python benchmarks/mujoco_bodies.py [--entries ewc ...] [--seeds 0 1 ...] [--processes 1].
Needs pip install -e '.[mujoco]'. Writes benchmarks/results/mujoco_bodies.*.
"""

import argparse
from collections.abc import Callable
from itertools import product
from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS
from common import RESULTS, environment, markdown_table, write
from reinforcement import Outcome, Outcomes, complete, gain

from redwood.experiments.bench.suite import Bench, read_suite
from redwood.experiments.config_file import as_arguments
from redwood.experiments.options import parse_options
from redwood.experiments.suites.choice import FOLDER
from redwood.settings.rl.metrics import forward_transfer_from_areas, normalised

SUITE = "mujoco_halfcheetah_bodies"
SEEDS = range(3)
STEPS = 7000
# What differs from the suite: networks and budget are small, with an update for two steps, for one core and an hour.
SMALLER: dict[str, Any] = {
    "steps_per_task": STEPS,
    "eval_every": 0,
    "test_episodes": 3,
    "policy_kwargs": "{net_arch: [64, 64]}",
    "learning_rate": 0.002,
    "batch_size": 256,
    "train_freq": 4,
    "gradient_steps": 2,
    "buffer_size": STEPS,
    "learning_starts": 500,
}
EXPLORING = {"clonex": {"explore_steps": 1000}}  # one episode
SINGLE, FINETUNED = "single", "finetuning"
ENTRIES = (SINGLE, FINETUNED, "ewc", "clonex", "packnet")
RUNS = RESULTS / "mujoco_bodies.jsonl"  # one line for each run


def bench_of(entry: str) -> Bench:
    """The entry of the suite."""
    return next(bench for bench in read_suite(SUITE, "--suite", FOLDER).benches if bench.name == entry)


def options_of(entry: str) -> dict[str, Any]:
    """What the suite gives to an entry, made smaller."""
    return {**bench_of(entry).options, **SMALLER, **EXPLORING.get(entry, {})}


def run(job: tuple[str, int]) -> Outcome:
    """The returns of one entry and seed, after each phase and on the way."""
    torch.set_num_threads(1)
    name, seed = job
    options = parse_options(bench_of(name).pair, as_arguments(options_of(name) | {"seed": seed}))
    results: Any = options.setting.apply(options.method, **RUN_OPTIONS)
    print(name, seed, [[round(value) for value in row] for row in results.return_matrix], flush=True)
    return {
        "method": name,
        "seed": seed,
        "returns": results.return_matrix,
        "random": results.random_return,
        "average_return": results.objective,
        "forgetting": results.metrics["forgetting"],
        "areas": results.areas,
        "training_curve": results.online_curve,
        "wall_time_s": results.cost.wall_time_s,
    }


def final(one: Outcome) -> list[float]:
    """Return on each body at the end; of agents of a single task, at the end of their task."""
    return [one["returns"][task if one["method"] == SINGLE else -1][task] for task in range(3)]


def forward_transfer(entry: str, outcomes: Outcomes, seeds: list[int]) -> list[float]:
    """Forward transfer of each seed by areas under training curves, against the agents that learned each body alone.

    Returns are scaled for each body: random actions have 0, and the best mean over the seeds of what an entry ends with
    has 1. The scale and the area of the single agents are means over the seeds, since single agents differ a lot.

    Raises:
        ValueError: If no entry ends better than random actions.
    """

    def means(of: Callable[[Outcome], list[float]], name: str) -> list[float]:
        return [mean(column) for column in zip(*(of(outcomes[name, seed]) for seed in seeds), strict=True)]

    random = means(lambda one: one["random"], SINGLE)
    best = [max(column) for column in zip(*(means(final, name) for name in ENTRIES), strict=True)]
    alone = normalised(means(lambda one: one["areas"], SINGLE), random, best)
    own = (normalised(outcomes[entry, seed]["areas"], random, best) for seed in seeds)
    found = [forward_transfer_from_areas(areas, alone) for areas in own]
    if None in found:
        raise ValueError("no entry ended better than random actions")
    return [value for value in found if value is not None]


def shown(values: list[float], digits: int = 0) -> str:
    """Mean and standard error."""
    return f"{mean(values):.{digits}f} +- {stdev(values) / len(values) ** 0.5:.{digits}f}"


def row_of(name: str, outcomes: Outcomes, seeds: list[int]) -> dict[str, str]:
    """A line of the table; forgetting and transfer are not defined for agents of a single task."""
    own = [outcomes[name, seed] for seed in seeds]
    row = {
        "entry of the suite": name,
        "method": f"`{bench_of(name).method}`",
        "average final return": shown([mean(final(one)) for one in own]),
        "on body 0, 1, 2": ", ".join(f"{mean(final(one)[task] for one in own):.0f}" for task in range(3)),
        "forgetting": "",
        "forward transfer": "",
        "gain on fine-tuning": "",
        "minutes": f"{mean(one['wall_time_s'] for one in own) / 60:.1f}",
    }
    if name != SINGLE:
        row["forgetting"] = shown([one["forgetting"] for one in own])
        row["forward transfer"] = shown(forward_transfer(name, outcomes, seeds), 2)
        if name != FINETUNED:
            gained, error = gain(outcomes, name, FINETUNED)
            row["gain on fine-tuning"] = f"{gained:+.0f} +- {error:.0f}"
    return row


def ordering(outcomes: Outcomes, seeds: list[int]) -> str:
    """Two sentences on the order of the methods, with the gains on fine-tuning that exceed 2 standard errors."""
    runs = {name: [outcomes[name, seed] for seed in seeds] for name in ENTRIES if name != SINGLE}
    returns = {name: mean(one["average_return"] for one in own) for name, own in runs.items()}
    lost = {name: mean(one["forgetting"] for one in own) for name, own in runs.items()}
    transfer = {name: mean(forward_transfer(name, outcomes, seeds)) for name in runs}
    gains = {name: gain(outcomes, name, FINETUNED) for name in runs if name != FINETUNED}
    above = [name for name, (value, error) in gains.items() if value > 2 * error]
    below = [name for name, (value, error) in gains.items() if value < -2 * error]
    forgets = {name: gain(outcomes, name, FINETUNED, "forgetting") for name in gains}
    less = [f"{name} ({value:+.0f} +- {error:.0f})" for name, (value, error) in forgets.items() if value < -2 * error]
    return (
        f"By average final return the order is {' > '.join(sorted(runs, key=lambda name: -returns[name]))}; with "
        f"{len(seeds)} seeds, {', '.join(above) or 'none'} gained 2 standard errors or more on fine-tuning, and "
        f"{', '.join(below) or 'none'} lost as much. The order by forgetting, the least first, is "
        f"{' < '.join(sorted(runs, key=lambda name: lost[name]))}, where {', '.join(less) or 'none'} forgot less than "
        f"fine-tuning by 2 standard errors or more, and by forward transfer "
        f"{' > '.join(sorted(runs, key=lambda name: -transfer[name]))}."
    )


def report(outcomes: Outcomes) -> None:
    """Write the table of the seeds that all entries ran on."""
    seeds = [seed for seed in SEEDS if all((name, seed) in outcomes for name in ENTRIES)]
    if len(seeds) < 2:
        print(f"No table: {len(seeds)} seeds have all entries, 2 are needed.")
        return
    outcomes = {(name, seed): one for (name, seed), one in outcomes.items() if seed in seeds}
    random = mean(value for seed in seeds for value in outcomes[SINGLE, seed]["random"])
    text = "\n\n".join(
        [
            f"HalfCheetah-v5 with three bodies (suite `{SUITE}`: its own, half and twice the mass), {STEPS:,} steps "
            f"each, seeds {seeds}, means and standard errors. Different from the suite: {SMALLER}. "
            f"Random actions reach {random:.0f}.",
            markdown_table([row_of(name, outcomes, seeds) for name in ENTRIES]),
            "`single` is a fresh agent for each body, the reference of forward transfer. Forward transfer is the mean "
            "of (AUC - AUC of single) / (1 - AUC of single), of training curves that are scaled for each body: "
            "random actions have 0, and what the best entry ends with has 1 (Continual World, section 4.2, where "
            "success rates need no scale).",
            ordering(outcomes, seeds),
        ]
    )
    options = {name: options_of(name) for name in ENTRIES}
    runs = [outcomes[name, seed] for name, seed in product(ENTRIES, seeds)]
    write("mujoco_bodies", {**environment(), "suite": SUITE, "options": options, "runs": runs}, text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", nargs="*", default=list(ENTRIES), choices=ENTRIES)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    jobs = [(entry, seed) for seed, entry in product(options.seeds, options.entries)]
    report(complete(run, jobs, RUNS, options.processes))


if __name__ == "__main__":
    main()

"""Environment steps per second of `dqn` where a step takes time: one process, several, and updates beside the steps.

The environment is CartPole whose step also sleeps, which stands for a simulator that leaves this machine's processors
free: a physics server, a robot, or rendering on a GPU. A simulator that computes needs a free core for each process.
One update of `dqn`, of four gradient steps, follows each step of the N environments. Variants: redwood in one process,
with `--env_processes N`, with `--overlap_rollout true` beside; and Stable-Baselines3 alone with its `SubprocVecEnv`.
They take turns, and a ratio is the median of those of the rounds. Times lie between the beginnings of two updates, so
that the start of processes does not count; resets count.

Run: OMP_NUM_THREADS=1 python benchmarks/rl_rollout.py. Writes benchmarks/results/rl_rollout.*.
"""

import argparse
import os
import time
from functools import partial
from statistics import median
from typing import Any

import gymnasium
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, median_ratio, take_turns, write
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import SubprocVecEnv

from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.settings import get_setting

COPIES = (1, 2, 4)
WARM_UP, UPDATES = 5, 40
EPISODE = 500
LEARNING_STARTS = 8  # steps before the first update, so that every variant soon makes one
AGENT = {"learning_starts": LEARNING_STARTS, "train_freq": 1, "gradient_steps": 4}
ALONE, PLAIN, PROCESSES, BESIDE = "Stable-Baselines3", "one process", "env_processes", "overlap_rollout"
OPTIONS: dict[str, dict[str, Any]] = {PLAIN: {}, PROCESSES: {}, BESIDE: {"overlap_rollout": True}}


def slow_cartpole(step_ms: float) -> type[CartPoleEnv]:
    """Return an environment whose step also sleeps."""

    class SlowCartPole(CartPoleEnv):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            time.sleep(step_ms / 1000)
            return super().step(action)

    return SlowCartPole


def make_alone(cls: type[CartPoleEnv]) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(cls(), EPISODE)


class Clock:
    """Notes when each update of an algorithm begins, and how long it takes."""

    def __init__(self, algorithm: Any) -> None:
        self._began: list[float] = []
        self._took: list[float] = []
        train = algorithm.train

        def timed(*args: Any, **options: Any) -> None:
            self._began.append(time.perf_counter())
            train(*args, **options)
            self._took.append(time.perf_counter() - self._began[-1])

        algorithm.train = timed

    def result(self, n: int) -> dict[str, float]:
        """Steps of `n` environments per second, and milliseconds of an update."""
        seconds = self._began[-1] - self._began[WARM_UP]
        steps = n * (len(self._began) - 1 - WARM_UP)
        return {"steps_per_s": steps / seconds, "update_ms": 1000 * median(self._took[WARM_UP:])}


def steps_of(n: int) -> int:
    return LEARNING_STARTS + n * (WARM_UP + UPDATES)


def run_alone(step_ms: float, n: int) -> dict[str, float]:
    """Train Stable-Baselines3's agent by itself."""
    environments = SubprocVecEnv([partial(make_alone, slow_cartpole(step_ms))] * n, start_method="fork")
    agent = DQN("MlpPolicy", environments, seed=0, device="cpu", **AGENT)
    clock = Clock(agent)
    agent.learn(steps_of(n))
    environments.close()
    return clock.result(n)


def run_redwood(step_ms: float, n: int, variant: str) -> dict[str, float]:
    """Train redwood's agent in a setting of one task."""
    processes = 0 if variant == PLAIN else n
    setting: Any = get_setting("incremental_rl")(
        env=slow_cartpole(step_ms), nb_tasks=1, steps_per_task=steps_of(n), max_episode_steps=EPISODE
    )
    method: Any = get_method("dqn")(n_envs=n, env_processes=processes, **AGENT, **OPTIONS[variant])
    method.attach(Run(**RUN_OPTIONS))
    method.configure(setting.for_method())
    clock = Clock(method.algorithm)
    phase = next(setting.phases())
    method.fit(phase)
    phase.close()
    return clock.result(n)


def row(step_ms: int, n: int, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """A line of the table: median steps per second of each variant, and ratios to others of the same round."""
    speeds = {name: [run["steps_per_s"] for run in found] for name, found in runs.items()}
    update = [run["update_ms"] for run in runs[PROCESSES]]
    line: dict[str, Any] = {"step sleeps, ms": step_ms, "environments": n, "update, ms": round(median(update), 1)}
    line |= {f"{name}, steps/s": round(median(found), 1) for name, found in speeds.items()}
    for below in (PROCESSES, ALONE):
        line[f"{BESIDE} / {below}"] = round(median_ratio(speeds[BESIDE], speeds[below]), 2)
    line[f"{PROCESSES} / {ALONE}"] = round(median_ratio(speeds[PROCESSES], speeds[ALONE]), 2)
    return line


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step_ms", type=int, nargs="+", default=[80], help="milliseconds that a step sleeps")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    use_one_thread()
    measured, loads = {}, [os.getloadavg()[0]]
    for step_ms in arguments.step_ms:
        for n in COPIES:
            variants = {ALONE: partial(run_alone, step_ms, n)}
            variants |= {name: partial(run_redwood, step_ms, n, name) for name in OPTIONS}
            measured[step_ms, n] = take_turns(variants, rounds)
            loads.append(os.getloadavg()[0])
            print(markdown_table([row(step_ms, n, measured[step_ms, n])]), flush=True)
    text = "\n\n".join(
        [
            "Environment steps per second of `dqn`, four gradient steps after each step of all environments, "
            f"medians of {rounds} rounds of {UPDATES} updates. A step of CartPole also sleeps, as if a simulator ran "
            "elsewhere. "
            f"Load of the {os.cpu_count()} cores, most of it of other programs: {min(loads):.1f} to {max(loads):.1f}.",
            markdown_table([row(*case, runs) for case, runs in measured.items()]),
        ]
    )
    runs = [{"step_ms": step_ms, "environments": n, "runs": found} for (step_ms, n), found in measured.items()]
    write("rl_rollout", {**environment(), "load": loads, "measured": runs}, text)


if __name__ == "__main__":
    main()

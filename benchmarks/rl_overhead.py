"""What a reinforcement setting costs: its environments against bare gymnasium, its training against the library's own.

Both of a pair run in turns in one process, and a ratio is the median of those of the rounds, which are short, because
the speed of processors changes within seconds. Environment steps are those of a loop with actions drawn beforehand,
resets included; training is one task of the default environment, redwood's `fit` against `learn` of
Stable-Baselines3 on `gymnasium.make`, with the same options and the same number of steps.

Run: OMP_NUM_THREADS=1 python benchmarks/rl_overhead.py. Writes benchmarks/results/rl_overhead.*.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import gymnasium
import numpy as np
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.runs.run import Run
from redwood.settings import get_setting

ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1")
STEPS, ROUNDS = 2_000, 151
AGENTS = {"ppo": 8192, "dqn": 8000}
TRAINING_ROUNDS = 11
STEP_BAR, TRAINING_BAR = 0.9, 1.05


def steps_per_s(env: gymnasium.Env[Any, Any], actions: list[Any]) -> float:
    """Steps per second, resets included."""
    env.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return len(actions) / (time.perf_counter() - began)


def setting_environment(key: str, name: str) -> gymnasium.Env[Any, Any]:
    """The training environment of a setting, with one step to spare."""
    setting: Any = get_setting(key)(env=name, steps_per_task=STEPS + 1)
    return next(setting.phases()).train


def measure_steps(name: str) -> dict[str, list[float]]:
    """Steps per second of the bare environment and of two settings, in turns."""
    space = gymnasium.make(name).action_space
    space.seed(0)
    actions = [space.sample() for _ in range(STEPS)]
    makers: dict[str, Callable[[], gymnasium.Env[Any, Any]]] = {
        "gymnasium": lambda: gymnasium.make(name),
        "incremental_rl": lambda: setting_environment("incremental_rl", name),
        "continual_rl": lambda: setting_environment("continual_rl", name),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in makers}
    for _ in range(ROUNDS):
        for kind, make in makers.items():
            rates[kind].append(steps_per_s(make(), actions))
    return rates


def train_alone(agent: str, steps: int) -> float:
    """Seconds that the library takes by itself."""
    cls = get_method(agent).algorithm_class()  # type: ignore[attr-defined]
    algorithm = cls("MlpPolicy", gymnasium.make(ENVIRONMENTS[0]), seed=0, device="cpu")
    began = time.perf_counter()
    algorithm.learn(steps)
    return time.perf_counter() - began


def train_in_setting(agent: str, steps: int) -> float:
    """Seconds that `fit` takes."""
    setting: Any = get_setting("incremental_rl")(nb_tasks=1, steps_per_task=steps)
    method = get_method(agent)()
    method.attach(Run(**RUN_OPTIONS))
    method.configure(setting.for_method())
    phase = next(setting.phases())
    began = time.perf_counter()
    method.fit(phase)
    return time.perf_counter() - began


def measure_training(agent: str, steps: int) -> dict[str, list[float]]:
    """Seconds of both, in turns."""
    seconds: dict[str, list[float]] = {"Stable-Baselines3": [], "redwood": []}
    for _ in range(TRAINING_ROUNDS):
        seconds["Stable-Baselines3"].append(train_alone(agent, steps))
        seconds["redwood"].append(train_in_setting(agent, steps))
    return seconds


def ratios(measured: dict[str, list[float]], kind: str, base: str) -> tuple[float, str]:
    """The median over the rounds, and the quartiles."""
    low, middle, high = np.quantile(np.array(measured[kind]) / np.array(measured[base]), (0.25, 0.5, 0.75))
    return float(middle), f"{low:.2f} to {high:.2f}"


def verdict(value: float, quartiles: str, reached: bool) -> str:
    return f"{value:.3f} ({quartiles}; {'reached' if reached else 'missed'})"


def main() -> None:
    use_one_thread()
    steps = {name: measure_steps(name) for name in ENVIRONMENTS}
    training = {agent: measure_training(agent, n) for agent, n in AGENTS.items()}
    rows = []
    for name, rates in steps.items():
        row: dict[str, Any] = {"environment": name, "gymnasium, steps/s": round(median(rates["gymnasium"]))}
        for kind in ("incremental_rl", "continual_rl"):
            value, quartiles = ratios(rates, kind, "gymnasium")
            row[f"{kind} / gymnasium"] = verdict(value, quartiles, value >= STEP_BAR)
        rows.append(row)
    trained = []
    for agent, seconds in training.items():
        value, quartiles = ratios(seconds, "redwood", "Stable-Baselines3")
        trained.append(
            {
                "agent": agent,
                "steps": AGENTS[agent],
                "Stable-Baselines3, s": round(median(seconds["Stable-Baselines3"]), 2),
                "redwood / Stable-Baselines3": verdict(value, quartiles, value <= TRAINING_BAR),
            }
        )
    text = "\n\n".join(
        [
            f"Environment steps per second, medians and quartiles of {ROUNDS} rounds of {STEPS:,} (bar: {STEP_BAR}):",
            markdown_table(rows),
            f"Wall time of training, medians and quartiles of {TRAINING_ROUNDS} rounds (bar: {TRAINING_BAR}):",
            markdown_table(trained),
        ]
    )
    print(text)
    write("rl_overhead", {**environment(), "steps_per_s": steps, "training_s": training}, text)


if __name__ == "__main__":
    main()

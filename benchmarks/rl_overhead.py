"""What a reinforcement setting costs: its environments against bare gymnasium, its training against the library's own.

Both of a pair run in turns in one process, and a ratio is the median of those of the rounds, which are short, because
the speed of processors changes within seconds. Ratios are of wall time, and beside it of this process's CPU time, which
other programs of the machine change less. Environment steps are those of a loop with actions drawn beforehand,
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

from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.settings import get_setting

ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1")
STEPS, ROUNDS = 2_000, 151
AGENTS = {"ppo": 8192, "dqn": 8000}
TRAINING_ROUNDS = 11
STEP_BARS = {"incremental_rl": 0.95, "continual_rl": 0.9}
TRAINING_BAR = 1.03
Times = tuple[float, float]  # wall and CPU seconds


def now() -> Times:
    return time.perf_counter(), time.process_time()


def since(began: Times) -> Times:
    wall, cpu = now()
    return wall - began[0], cpu - began[1]


def step_seconds(env: gymnasium.Env[Any, Any], actions: list[Any]) -> Times:
    """Seconds of all steps, resets included."""
    env.reset(seed=0)
    began = now()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return since(began)


def setting_environment(key: str, name: str) -> gymnasium.Env[Any, Any]:
    """The training environment of a setting, with one step to spare."""
    setting: Any = get_setting(key)(env=name, steps_per_task=STEPS + 1)
    return next(setting.phases()).train


def measure_steps(name: str) -> dict[str, list[Times]]:
    """Seconds of `STEPS` steps of the bare environment and of two settings, in turns."""
    space = gymnasium.make(name).action_space
    space.seed(0)
    actions = [space.sample() for _ in range(STEPS)]
    makers: dict[str, Callable[[], gymnasium.Env[Any, Any]]] = {
        "gymnasium": lambda: gymnasium.make(name),
        "incremental_rl": lambda: setting_environment("incremental_rl", name),
        "continual_rl": lambda: setting_environment("continual_rl", name),
    }
    seconds: dict[str, list[Times]] = {kind: [] for kind in makers}
    for _ in range(ROUNDS):
        for kind, make in makers.items():
            seconds[kind].append(step_seconds(make(), actions))
    return seconds


def train_alone(agent: str, steps: int) -> Times:
    """Seconds that the library takes by itself."""
    cls = get_method(agent).algorithm_class()  # type: ignore[attr-defined]
    algorithm = cls("MlpPolicy", gymnasium.make(ENVIRONMENTS[0]), seed=0, device="cpu")
    began = now()
    algorithm.learn(steps)
    return since(began)


def train_in_setting(agent: str, steps: int) -> Times:
    """Seconds that `fit` takes."""
    setting: Any = get_setting("incremental_rl")(nb_tasks=1, steps_per_task=steps)
    method = get_method(agent)()
    method.attach(Run(**RUN_OPTIONS))
    method.configure(setting.for_method())
    phase = next(setting.phases())
    began = now()
    method.fit(phase)
    return since(began)


def measure_training(agent: str, steps: int) -> dict[str, list[Times]]:
    """Seconds of both, in turns."""
    seconds: dict[str, list[Times]] = {"Stable-Baselines3": [], "redwood": []}
    for _ in range(TRAINING_ROUNDS):
        seconds["Stable-Baselines3"].append(train_alone(agent, steps))
        seconds["redwood"].append(train_in_setting(agent, steps))
    return seconds


def ratio(above: list[Times], below: list[Times], clock: int) -> tuple[float, str]:
    """The median over the rounds, and the quartiles, of wall (0) or CPU (1) seconds."""
    low, middle, high = np.quantile(np.array(above)[:, clock] / np.array(below)[:, clock], (0.25, 0.5, 0.75))
    return float(middle), f"{low:.2f} to {high:.2f}"


def verdicts(above: list[Times], below: list[Times], reached: Callable[[float], bool]) -> dict[str, str]:
    """The ratio of both clocks, each with its verdict."""
    found = {}
    for clock, name in enumerate(("wall", "CPU")):
        value, quartiles = ratio(above, below, clock)
        found[name] = f"{value:.3f} ({quartiles}; {'reached' if reached(value) else 'missed'})"
    return found


def step_rows(measured: dict[str, dict[str, list[Times]]]) -> list[dict[str, Any]]:
    """A line for each environment and setting; speed is the inverse of time."""
    rows = []
    for name, seconds in measured.items():
        bare = seconds["gymnasium"]
        for kind, bar in STEP_BARS.items():
            steps = round(STEPS / median(cpu for _, cpu in bare))
            row = {"environment": name, "gymnasium, steps/s of CPU time": steps, "setting": kind, "bar": f">= {bar}"}
            rows.append(row | verdicts(bare, seconds[kind], lambda value, bar=bar: value >= bar))  # type: ignore[misc]
    return rows


def training_rows(measured: dict[str, dict[str, list[Times]]]) -> list[dict[str, Any]]:
    """A line for each agent."""
    rows = []
    for agent, seconds in measured.items():
        alone = seconds["Stable-Baselines3"]
        row = {"agent": agent, "steps": AGENTS[agent], "Stable-Baselines3, s": round(median(w for w, _ in alone), 2)}
        rows.append(row | verdicts(seconds["redwood"], alone, lambda value: value <= TRAINING_BAR))
    return rows


def main() -> None:
    use_one_thread()
    steps = {name: measure_steps(name) for name in ENVIRONMENTS}
    training = {agent: measure_training(agent, n) for agent, n in AGENTS.items()}
    text = "\n\n".join(
        [
            f"Steps per second beside bare gymnasium, medians and quartiles of {ROUNDS} rounds of {STEPS:,} steps:",
            markdown_table(step_rows(steps)),
            f"Training time beside Stable-Baselines3's, medians and quartiles of {TRAINING_ROUNDS} rounds "
            f"(bar: <= {TRAINING_BAR}):",
            markdown_table(training_rows(training)),
        ]
    )
    print(text)
    write("rl_overhead", {**environment(), "step_s": steps, "training_s": training}, text)


if __name__ == "__main__":
    main()

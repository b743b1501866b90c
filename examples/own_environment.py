"""An environment of one's own: its numbers become tasks, and any agent applies.

Run: python examples/own_environment.py (needs `pip install -e '.[rl]'`)
"""

from typing import Any

import gymnasium
import numpy as np

from redwood.methods import get_method
from redwood.settings import TaskIncrementalRLSetting


class Thermostat(gymnasium.Env[Any, Any]):
    """Keep a room at 20 degrees by switching a heater; it cools down by `loss` and is heated by `power` a step."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-50.0, 150.0, (1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.loss, self.power = 1.0, 2.0
        self.temperature = 20.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start between 15 and 25 degrees."""
        super().reset(seed=seed)
        self.temperature = float(self.np_random.uniform(15, 25))
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Heat or do not; the reward is 1 within a degree of 20."""
        self.temperature = float(np.clip(self.temperature - self.loss + self.power * int(action), -40, 140))
        return self._observation(), float(abs(self.temperature - 20) < 1), False, False, {}

    def _observation(self) -> Any:
        return np.array([self.temperature - 20], dtype=np.float32)


def main() -> dict[str, float]:
    """The average return over two rooms of fine-tuning, and of weights that are shared out to tasks."""
    setting = TaskIncrementalRLSetting(
        env=Thermostat,
        tasks=["default", "loss=-1,power=-2"],  # the second room has to be cooled
        steps_per_task=3072,
        max_episode_steps=50,
    )
    agents = {"ppo": get_method("ppo"), "ppo+packnet": get_method("ppo+packnet")}
    options = {"n_steps": 128, "learning_rate": 1e-3}
    returns = {name: setting.apply(cls(**options), quiet=True).objective for name, cls in agents.items()}
    print(returns)
    return returns


if __name__ == "__main__":
    main()

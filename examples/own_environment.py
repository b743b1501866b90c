"""An environment of one's own: its numbers become tasks, and any agent applies.

Run: python examples/own_environment.py (needs `pip install -e '.[rl]'`)
"""

from typing import Any

import gymnasium
import numpy as np

from redwood.methods import PPO
from redwood.settings import IncrementalRLSetting
from redwood.settings.rl.results import ReturnResults


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
        """Heat or do not; the reward is 1 at 20 degrees, and 0 from 5 degrees off on."""
        self.temperature = float(np.clip(self.temperature - self.loss + self.power * int(action), -40, 140))
        return self._observation(), max(0.0, 1 - abs(self.temperature - 20) / 5), False, False, {}

    def _observation(self) -> Any:
        return np.array([self.temperature - 20], dtype=np.float32)


def main() -> dict[str, float]:
    """The average return of 30 steps, over two rooms, of random actions and of an agent."""
    setting = IncrementalRLSetting(
        env=Thermostat, tasks=["default", "power=4"], steps_per_task=2048, max_episode_steps=30
    )
    results = setting.apply(PPO(n_steps=64, learning_rate=3e-3), quiet=True)
    assert isinstance(results, ReturnResults) and results.random_return is not None
    returns = {"random": sum(results.random_return) / 2, "ppo": results.objective}
    print(returns)
    return returns


if __name__ == "__main__":
    main()

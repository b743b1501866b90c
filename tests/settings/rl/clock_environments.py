"""Small environments, in a module that other processes import in no time."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray


class Clock(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows its gain and the time; pays the gain for action 1."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.gain, self.bias = 2.0, 1.0
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.time = int(self.np_random.integers(1000))
        return self._shown(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._shown(), self.gain * float(action), False, False, {"gain": self.gain}

    def _shown(self) -> NDArray[np.float32]:
        return np.array([self.gain, self.time], dtype=np.float32)


class OtherClock(Clock):
    """Another environment with the same spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = 50.0


class OneRightAction(gymnasium.Env[NDArray[Any], np.int64]):
    """Pays 1 for one of its actions, the same one at every step."""

    def __init__(self, right: int, length: int, n_actions: int, observation_space: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, gymnasium.spaces.Discrete(n_actions)
        self.right, self.length, self.time = right, length, 0
        self._empty = np.zeros_like(np.asarray(observation_space.sample()))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.shown(), {}

    def step(self, action: np.int64) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self.shown(), float(action == self.right), self.time == self.length, False, {}

    def shown(self) -> NDArray[Any]:
        return self._empty


class Failing(Clock):
    """Has a fault."""

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        raise FloatingPointError("the joint is broken")


class Picture(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """Shows noise in red and the time in green; pays for the action that the time names.

    The channels are the last axis, which Stable-Baselines3 moves to the front.
    """

    side = 8

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (self.side, self.side, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.right, self.time = 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._shown(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        reward = float(action == (self.time + self.right) % 2)
        self.time += 1
        return self._shown(), reward, False, False, {}

    def _shown(self) -> NDArray[np.uint8]:
        picture = np.zeros((self.side, self.side, 3), np.uint8)
        picture[..., 0] = self.np_random.integers(0, 256, (self.side, self.side))
        picture[..., 1] = self.time
        return picture


class OtherPicture(Picture):
    """Another environment with the same spaces."""

    def __init__(self) -> None:
        super().__init__()
        self.right = 1


class LargePicture(Picture):
    """Large enough for convolutions."""

    side = 36

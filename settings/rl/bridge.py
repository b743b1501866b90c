"""A supervised setting seen as environments: the observation is a sample, the action a prediction, 1 for a right one.

Each episode is one sample, so that the mean return is the accuracy, and the online return the online accuracy.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from torch import Tensor

from redwood.core.errors import NotApplicableError
from redwood.settings.rl.environments import EnvironmentMaker

if TYPE_CHECKING:
    from redwood.settings.supervised import SupervisedSetting
    from redwood.settings.supervised_stream import SupervisedStream

PREFIX = "supervised:"


class SupervisedEnvironment(gymnasium.Env[Any, Any]):
    """Samples of one task as episodes of one step.

    The observation space is that of the samples, the action space the classes; the reward is 1.0 for the right class,
    else 0.0.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        x: Tensor,
        y: Tensor,
        *,
        choice: bool = False,
    ) -> None:
        """Take the spaces of a supervised setting, and samples (N, ...) with their labels (N,).

        Args:
            observation_space: Space of the samples.
            action_space: The classes.
            x: Samples.
            y: Labels.
            choice: Whether `reset` can be asked for a sample; in training a known one could be answered forever.
        """
        self._choice = choice
        self.observation_space, self.action_space = observation_space, action_space
        self._x, self._y = x.numpy(), y.numpy()
        self._order, self._next = np.arange(0), 0
        self._index = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Show the next sample: all of them in random order, then again; at test, that of `options["episode"]`."""
        super().reset(seed=seed)
        if self._choice and options is not None and "episode" in options:
            self._index = options["episode"]
        else:
            if self._next == len(self._order):
                self._order, self._next = self.np_random.permutation(len(self._y)), 0
            self._index = int(self._order[self._next])
            self._next += 1
        return self._x[self._index], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Compare the action with the label; the episode is over."""
        return self._x[self._index], float(action == self._y[self._index]), True, False, {}


def makers_of(setting: "SupervisedSetting") -> list[EnvironmentMaker]:
    """For each task of a supervised setting, what makes the environment of its samples.

    Raises:
        NotApplicableError: If numbers are to be predicted.
    """
    if not isinstance(setting.action_space, gymnasium.spaces.Discrete):
        raise NotApplicableError(
            f"The targets of {setting.dataset_name} are numbers, which no prediction hits; choose another data set."
        )
    stream = setting.open_stream()
    return [_maker(setting, stream, task) for task in range(stream.num_tasks)]


def _maker(setting: "SupervisedSetting", stream: "SupervisedStream", task: int) -> EnvironmentMaker:
    train, test = stream.samples_of(task), stream.samples_of(task, test=True)
    return EnvironmentMaker(
        name=f"{PREFIX}{setting.dataset_name}",
        make=partial(SupervisedEnvironment, setting.observation_space, setting.action_space, *train),
        limit=1,
        make_test=partial(SupervisedEnvironment, setting.observation_space, setting.action_space, *test, choice=True),
        n_test_episodes=len(test[1]),
    )

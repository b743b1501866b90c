"""A supervised setting as environments: an observation is a sample, an action a prediction.

The reward is 1 for a right prediction, else 0. An episode is one sample, so the mean return is the accuracy, and the
online return is the online accuracy.
"""

from functools import partial

import gymnasium
import numpy as np
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import NotApplicableError
from redwood.settings.rl.environments import EnvironmentMaker
from redwood.settings.rl.types import Array, Options, ResetResult, Space, StepResult
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.supervised import SupervisedSetting

PREFIX = "supervised:"


class SupervisedEnvironment(gymnasium.Env[Array, int]):
    """Shows the samples of one task; an episode is one step, whose reward is 1.0 for the right class, else 0.0."""

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        x: Tensor,
        y: Tensor,
        *,
        choice: bool = False,
    ) -> None:
        """Take the samples.

        Args:
            observation_space: Space of the samples.
            action_space: The classes.
            x: Samples (N, ...).
            y: Labels (N,).
            choice: Whether `reset` can be asked for a sample; in training, a method could repeat a known one forever.
        """
        self._choice = choice
        self.observation_space, self.action_space = observation_space, action_space
        self._x, self._y = x.numpy(), y.numpy()
        self._order, self._next = np.arange(0), 0
        self._index = 0

    @override
    def reset(self, *, seed: int | None = None, options: Options | None = None) -> ResetResult:
        """Show the next sample, in an order drawn anew for each pass; at test, sample `options["episode"]`."""
        super().reset(seed=seed)
        if self._choice and options is not None and "episode" in options:
            self._index = options["episode"]
        else:
            if self._next == len(self._order):
                self._order, self._next = self.np_random.permutation(len(self._y)), 0
            self._index = int(self._order[self._next])
            self._next += 1
        return self._x[self._index], {}

    @override
    def step(self, action: int) -> StepResult:
        """Compare the action with the label, and end the episode."""
        return self._x[self._index], float(action == self._y[self._index]), True, False, {}


def makers_of(setting: SupervisedSetting) -> list[EnvironmentMaker]:
    """Return, for each task of a supervised setting, the maker of an environment with its samples.

    Raises:
        NotApplicableError: If samples do not have one class each.
    """
    if not isinstance(setting.action_space, gymnasium.spaces.Discrete):
        raise NotApplicableError(
            f"The samples of {setting.dataset_name} do not have one class each, which an action could name; choose "
            "another data set."
        )
    stream = setting.open_stream()
    return [_maker(setting, stream, task) for task in range(stream.first_task, stream.first_task + stream.num_tasks)]


def _maker(setting: SupervisedSetting, stream: SupervisedStream, task: int) -> EnvironmentMaker:
    train, test = stream.samples_of(task), stream.samples_of(task, test=True)
    return EnvironmentMaker(
        name=f"{PREFIX}{setting.dataset_name}",
        make=partial(SupervisedEnvironment, setting.observation_space, setting.action_space, *train),
        limit=1,
        make_test=partial(SupervisedEnvironment, setting.observation_space, setting.action_space, *test, choice=True),
        n_test_episodes=len(test[1]),
    )

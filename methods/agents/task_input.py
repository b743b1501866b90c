"""Tell an agent's networks the task: its one-hot code is appended to each observation."""

import warnings
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from redwood.core.checks import check_choice
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting

TASK_INPUTS = ("auto", "none", "one_hot")


class TaskInput:
    """Appends nothing: what the networks see is what the setting shows.

    Attributes:
        space: What the networks see.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    def join(self, observations: NDArray[Any], task_id: Any) -> NDArray[Any]:
        """Observations (B, ...) of tasks (B,), as the networks see them."""
        return observations


class OneHotTask(TaskInput):
    """Appends the code of the task: to numbers as numbers, to the code of a choice, to images as channels."""

    def __init__(self, space: spaces.Space[Any], num_tasks: int) -> None:
        """Build the joined space.

        Raises:
            NotApplicableError: If the library would take the channels of an image for something else.
        """
        from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

        self._num_tasks, self._choices, self._axis = num_tasks, 0, 1
        if isinstance(space, spaces.Discrete):
            self._choices = int(space.n)
            super().__init__(spaces.Box(0, 1, (self._choices + num_tasks,), np.float32))
            return
        assert isinstance(space, spaces.Box)
        self._image, high = is_image_space(space), 1
        if self._image:
            first = is_image_space_channels_first(space)
            self._axis, high = (1 if first else 3), 255
        self._high = high
        low = self._joined(space.low[None], np.zeros((1, num_tasks)))[0]
        joined = spaces.Box(low, self._joined(space.high[None], np.ones((1, num_tasks)))[0], dtype=space.dtype)  # type: ignore[arg-type]
        super().__init__(joined)
        if self._image and is_image_space_channels_first(joined) != first:
            raise NotApplicableError(
                f"--task_input one_hot appends a channel for each of {num_tasks} tasks, too many for images of "
                f"the shape {space.shape}; use --task_input none."
            )

    def join(self, observations: NDArray[Any], task_id: Any) -> NDArray[Any]:
        """Observations (B, ...) of tasks (B,), as the networks see them."""
        codes = np.eye(self._num_tasks)[task_id]
        if self._choices:
            return np.concatenate([np.eye(self._choices)[observations], codes], axis=1).astype(np.float32)
        return self._joined(observations, codes)

    def _joined(self, observations: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
        codes = (codes * self._high).astype(observations.dtype)
        if not self._image:
            return np.concatenate([observations.reshape(len(observations), -1), codes], axis=1)
        shape = list(observations.shape)
        shape[self._axis] = self._num_tasks
        planes = codes[:, :, None, None] if self._axis == 1 else codes[:, None, None, :]
        return np.concatenate([observations, np.broadcast_to(planes, shape)], axis=self._axis)


def task_input(agent: Any, setting: Setting) -> TaskInput:
    """What the option `task_input` stands for under a setting.

    Raises:
        InvalidOptionError: If it needs ids that the setting does not give at test.
    """
    check_choice(agent, "task_input", TASK_INPUTS)
    gives_ids = setting.assumptions.task_ids >= TaskIds.TEST
    if agent.task_input == "one_hot" and not gives_ids:
        raise InvalidOptionError(
            f"--task_input one_hot needs task ids at test, which {type(setting).__name__} does not give; "
            "leave it out, or use task_incremental_rl or multi_task_rl."
        )
    if agent.task_input == "none" or not gives_ids:
        return TaskInput(setting.observation_space)
    try:
        return OneHotTask(setting.observation_space, setting.num_tasks)  # type: ignore[attr-defined]
    except NotApplicableError as error:
        if agent.task_input == "one_hot":
            raise
        warnings.warn(f"The agent is not told the task. {error}", stacklevel=2)
        return TaskInput(setting.observation_space)

"""Tell an agent's networks the task: append its one-hot code to each observation, as an input or to select heads."""

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from typing_extensions import override

from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.core.user_warnings import warn
from redwood.methods.agents.options import channel_axis
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting
from redwood.settings.rl.types import Array, Space

TASK_INPUTS = ("auto", "none", "one_hot", "heads")


class TaskInput:
    """Append nothing: the networks see the observations of the setting.

    Attributes:
        heads: Whether networks have a head for each task, which the code selects.
        space: The space of the networks' inputs.
    """

    heads = False

    def __init__(self, space: Space) -> None:
        self.space = space

    def join(self, observations: Array, task_id: Array | Sequence[int] | None) -> Array:
        """Turn observations (B, ...) of tasks (B,) into inputs of the networks, (B, ...) of `space`."""
        return observations


class OneHotTask(TaskInput):
    """Append the one-hot code of the task: to an image as channels, to anything else as numbers.

    Attributes:
        num_tasks: Length of the code.
    """

    def __init__(self, space: Space, num_tasks: int, *, heads: bool = False) -> None:
        """Build the joined space.

        Args:
            space: The space of the observations.
            num_tasks: Number of tasks.
            heads: Whether the code selects heads, instead of being an input of the first layer.

        Raises:
            NotApplicableError: If the library would mistake another axis of an image for its channels.
        """
        self.num_tasks, self.heads = num_tasks, heads
        self._choices = 0  # of a Discrete space; 0 for a Box
        self._high = 1  # the value of the present task in the code
        self._axis = channel_axis(space)
        if isinstance(space, spaces.Discrete):
            self._choices = int(space.n)
            super().__init__(spaces.Box(0, 1, (self._choices + num_tasks,), np.float32))
            return
        assert isinstance(space, spaces.Box)
        if self._axis is not None:
            self._high = 255
        low = self._append(space.low[None], np.zeros((1, num_tasks)))[0]
        high = self._append(space.high[None], np.ones((1, num_tasks)))[0]
        super().__init__(spaces.Box(low, high, dtype=space.dtype.type))
        if channel_axis(self.space) != self._axis:
            name = "heads" if heads else "one_hot"
            raise NotApplicableError(
                f"--task_input {name} appends a channel for each of {num_tasks} tasks, too many for images of the "
                f"shape {space.shape}; use --task_input none."
            )

    @property
    def is_channels(self) -> bool:
        """True if the code consists of channels of an image."""
        return self._axis is not None

    @override
    def join(self, observations: Array, task_id: Array | Sequence[int] | None) -> Array:
        assert task_id is not None
        codes = np.eye(self.num_tasks)[task_id]
        if self._choices:
            return np.concatenate([np.eye(self._choices)[observations], codes], axis=1).astype(np.float32)
        return self._append(observations, codes)

    def recode(self, inputs: Array, task_id: Sequence[int]) -> Array:
        """Return inputs of the library, (B, ...) with images as (B, C, H, W), with the codes of other tasks (B,)."""
        codes = (np.eye(self.num_tasks)[task_id] * self._high).astype(inputs.dtype)
        recoded = inputs.copy()
        recoded[:, -self.num_tasks :] = codes[:, :, None, None] if self.is_channels else codes
        return recoded

    def _append(self, observations: Array, codes: Array) -> Array:
        codes = (codes * self._high).astype(observations.dtype)
        if self._axis is None:
            return np.concatenate([observations.reshape(len(observations), -1), codes], axis=1)
        shape = list(observations.shape)
        shape[1 + self._axis] = self.num_tasks
        planes = codes[:, :, None, None] if self._axis == 0 else codes[:, None, None, :]
        return np.concatenate([observations, np.broadcast_to(planes, shape)], axis=1 + self._axis)


def choose_task_input(choice: str, setting: Setting, num_tasks: int | None) -> TaskInput:
    """Return what the option `task_input` stands for under a setting.

    Args:
        choice: One of `TASK_INPUTS`.
        setting: The setting.
        num_tasks: Number of its tasks; None where the setting hides it.

    Raises:
        InvalidOptionError: If the choice needs task ids at test, which the setting does not give.
        NotApplicableError: If the choice is `one_hot` or `heads`, and images cannot take a channel for each task.
    """
    gives_ids = setting.assumptions.task_ids >= TaskIds.TEST
    if choice in ("one_hot", "heads") and not gives_ids:
        raise InvalidOptionError(
            f"--task_input {choice} needs task ids at test, which {type(setting).__name__} does not give; "
            "leave it out, or use task_incremental_rl or multi_task_rl."
        )
    if choice == "none" or not gives_ids:
        return TaskInput(setting.observation_space)
    assert num_tasks is not None
    try:
        return OneHotTask(setting.observation_space, num_tasks, heads=choice == "heads")
    except NotApplicableError as error:
        if choice != "auto":
            raise
        warn(f"The agent is not told the task. {error}")
        return TaskInput(setting.observation_space)

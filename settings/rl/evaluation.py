"""Score a method on tasks: the returns of whole episodes, and whether they were successes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.settings.rl.environment import TaskEnvironment
from redwood.settings.rl.outcomes import Outcome, Outcomes
from redwood.settings.rl.types import Array, Info, Options

AT_ONCE = 64  # episodes that are played side by side
_SPARE = -1  # in the place of the number of an episode that does not count

Predict: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
Episode: TypeAlias = tuple[int, Options | None]  # seed and options of its `reset`


@dataclass(frozen=True)
class TestedTask:
    """The episodes that score a task.

    Attributes:
        task: Number of the task.
        make: Makes a copy of its environment.
        scored: Episodes that count.
        spare: Episodes that are played when these are over, and do not count.
    """

    task: int
    make: Callable[[], TaskEnvironment]
    scored: Sequence[Episode]
    spare: Sequence[Episode]


class _Play:
    """The episodes of one task, played side by side in some copies of its environment.

    Attributes:
        open: Number of episodes that count and are not over.
        outcomes: Outcomes of the episodes that count, once they are over.
    """

    def __init__(self, tested: TestedTask, copies: int, goes_on: bool) -> None:
        self.open, self.task = len(tested.scored), tested.task
        self.outcomes = [Outcome(math.nan, None)] * self.open
        self._waiting = list(reversed(list(enumerate(tested.scored))))
        self._spare = cycle([(_SPARE, episode) for episode in tested.spare]) if goes_on else iter(())
        self.slots: list[_Slot] = []
        for _ in range(copies):
            self._start(_Slot(self, tested.make()), self.slots)

    def _start(self, slot: "_Slot", slots: list["_Slot"]) -> None:
        """Start the slot's next episode, and add it to `slots`; close it if there is none."""
        coming = self._waiting.pop() if self._waiting else next(self._spare, None)
        if coming is None:
            slot.env.close()
            return
        slot.number, (seed, options) = coming
        slot.value, slot.success = 0.0, None
        slot.observation = slot.env.reset(seed=seed, options=options)[0]
        slots.append(slot)

    def step(self) -> None:
        """Take the actions of all slots."""
        still: list[_Slot] = []
        for slot in self.slots:
            slot.observation, reward, terminated, truncated, info = slot.env.step(slot.action)
            slot.value += float(reward)
            slot.success = _success(info, slot.success)
            if not (terminated or truncated):
                still.append(slot)
                continue
            if slot.number != _SPARE:
                self.outcomes[slot.number] = Outcome(slot.value, slot.success)
                self.open -= 1
            self._start(slot, still)
        self.slots = still


class _Slot:
    """One copy of a task's environment: observation, next action, and number, return and success of its episode."""

    __slots__ = ("action", "env", "number", "observation", "play", "success", "value")

    def __init__(self, play: _Play, env: TaskEnvironment) -> None:
        self.play, self.env = play, env
        self.number, self.value = _SPARE, 0.0
        self.success: bool | None = None
        self.observation: Any = None  # of the observation space
        self.action: Any = None  # of the action space


def _success(info: Info, so_far: bool | None) -> bool | None:
    """Return whether an episode is a success after a step that returned `info`; None if nothing is reported.

    `info["success"]`, as in Meta-World, counts at any step of the episode, as in Continual World's `SuccessCounter`.
    `info["is_success"]`, as in gymnasium-robotics, counts at the last step, as in Stable-Baselines3.
    """
    if "success" in info:
        return bool(info["success"]) or bool(so_far)
    if "is_success" in info:
        return bool(info["is_success"])
    return so_far


def play_episodes(predict: Predict, tasks: Sequence[TestedTask], *, tell: bool, seed: int) -> Outcomes:
    """Play the episodes of several tasks side by side, and return the outcome of each.

    Several tasks are mixed, so that only the observations tell the task. Each batch holds equally many observations of
    each task, in an order drawn anew. A task whose episodes are over first goes on with episodes that do not count.
    Otherwise the number of batches would tell the task.

    Args:
        predict: Maps observations (B, ...) and tasks (B,) to actions (B, ...).
        tasks: The tasks.
        tell: Whether the method is told the tasks.
        seed: Decides the order in the batches.

    Returns:
        For each of the tasks, the outcomes of its episodes, in their order.

    Raises:
        RedwoodError: If the method does not predict one action for each observation.
    """
    mixed = len(tasks) > 1
    most = min(max(AT_ONCE // len(tasks), 1), max(len(tested.scored) for tested in tasks))
    plays = [_Play(tested, most, goes_on=mixed) for tested in tasks]
    choice = np.random.default_rng(seed)
    while any(play.open for play in plays):
        slots = [slot for play in plays for slot in play.slots]
        if mixed:
            slots = [slots[place] for place in choice.permutation(len(slots))]
        x = torch.from_numpy(np.stack([slot.observation for slot in slots]))
        told = torch.tensor([slot.play.task for slot in slots]) if tell else None
        for slot, action in zip(slots, _checked(predict(x, told), len(slots)), strict=True):
            slot.action = action
        for play in plays:
            play.step()
    for play in plays:
        for slot in play.slots:
            slot.env.close()
    return [play.outcomes for play in plays]


def _checked(actions: object, n: int) -> Array:
    if not isinstance(actions, Tensor) or not actions.dim() or len(actions) != n:
        got = f"a tensor of shape {tuple(actions.shape)}" if isinstance(actions, Tensor) else type(actions).__name__
        raise RedwoodError(f"predict returned {got} for {n} observations; return one action for each.")
    values: Array = actions.detach().cpu().numpy()
    return values

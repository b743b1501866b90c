"""Score a method on tasks: the returns of whole episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.settings.rl.environment import TaskEnvironment
from redwood.settings.rl.types import Array, Options

AT_ONCE = 64  # episodes that are played side by side

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
        total: Sum of the rewards of episodes that count.
    """

    def __init__(self, tested: TestedTask, copies: int, goes_on: bool) -> None:
        self.open, self.total, self.task = len(tested.scored), 0.0, tested.task
        self._waiting = [(True, episode) for episode in reversed(tested.scored)]
        self._spare = cycle([(False, episode) for episode in tested.spare]) if goes_on else iter(())
        self.slots: list[_Slot] = []
        for _ in range(copies):
            self._start(_Slot(self, tested.make()), self.slots)

    def _start(self, slot: "_Slot", slots: list["_Slot"]) -> None:
        """Start the slot's next episode, and add it to `slots`; close it if there is none."""
        coming = self._waiting.pop() if self._waiting else next(self._spare, None)
        if coming is None:
            slot.env.close()
            return
        slot.counts, (seed, options) = coming
        slot.observation = slot.env.reset(seed=seed, options=options)[0]
        slots.append(slot)

    def step(self) -> None:
        """Take the actions of all slots."""
        still: list[_Slot] = []
        for slot in self.slots:
            slot.observation, reward, terminated, truncated, _ = slot.env.step(slot.action)
            if slot.counts:
                self.total += float(reward)
            if not (terminated or truncated):
                still.append(slot)
                continue
            self.open -= slot.counts
            self._start(slot, still)
        self.slots = still


class _Slot:
    """One copy of a task's environment: its observation, its next action, and whether its episode counts."""

    __slots__ = ("action", "counts", "env", "observation", "play")

    def __init__(self, play: _Play, env: TaskEnvironment) -> None:
        self.play, self.env, self.counts = play, env, True
        self.observation: Any = None  # of the observation space
        self.action: Any = None  # of the action space


def total_returns(predict: Predict, tasks: Sequence[TestedTask], *, tell: bool, seed: int) -> list[float]:
    """Play the episodes of several tasks side by side, and return the sum of the returns of each task.

    Several tasks are mixed, so that only the observations tell the task: each batch holds equally many observations of
    each task, in an order drawn anew. A task whose episodes are over first goes on with episodes that do not count.
    Otherwise the number of batches would tell the task.

    Args:
        predict: Maps observations (B, ...) and tasks (B,) to actions (B, ...).
        tasks: The tasks.
        tell: Whether the method is told the tasks.
        seed: Decides the order in the batches.

    Returns:
        One sum for each of the tasks.

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
    return [play.total for play in plays]


def _checked(actions: object, n: int) -> Array:
    if not isinstance(actions, Tensor) or not actions.dim() or len(actions) != n:
        got = f"a tensor of shape {tuple(actions.shape)}" if isinstance(actions, Tensor) else type(actions).__name__
        raise RedwoodError(f"predict returned {got} for {n} observations; return one action for each.")
    values: Array = actions.detach().cpu().numpy()
    return values

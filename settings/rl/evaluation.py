"""Score a method on tasks: the returns of whole episodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.settings.rl.environment import TaskEnvironment

AT_ONCE = 64

Predict = Callable[[Tensor, Tensor | None], Tensor]
Episode = tuple[int, dict[str, Any] | None]


@dataclass(frozen=True)
class TestedTask:
    """What a task is scored by.

    Attributes:
        task: Its number.
        make: Makes a copy of its environment.
        scored: Seed and options of each episode that counts.
        spare: Episodes to go on with when these are over, which do not count.
    """

    task: int
    make: Callable[[], TaskEnvironment]
    scored: Sequence[Episode]
    spare: Sequence[Episode]


class _Play:
    """The episodes of one task, played side by side in some copies of its environment.

    Attributes:
        open: Episodes that count and are not over.
        total: The sum of their rewards so far.
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
    """One copy of a task's environment: what it shows, what is done, and whether its episode counts."""

    __slots__ = ("action", "counts", "env", "observation", "play")

    def __init__(self, play: _Play, env: TaskEnvironment) -> None:
        self.play, self.env, self.counts = play, env, True
        self.observation: Any = None
        self.action: Any = None


def total_returns(predict: Predict, tasks: Sequence[TestedTask], *, tell: bool, seed: int) -> list[float]:
    """The sum of the returns of each task's episodes, which are played side by side.

    Several tasks are mixed, so that only the observations tell one from another: a batch holds as many observations of
    each, in an order drawn anew for each batch. A task whose episodes are over before those of another goes on with
    episodes that do not count, as it could otherwise be told from how many batches there were.

    Args:
        predict: Maps observations (B, ...) and tasks (B,) to actions (B, ...).
        tasks: What is played.
        tell: Whether the method is told the tasks.
        seed: Decides the order within the batches.
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


def _checked(actions: Tensor, n: int) -> Any:
    if not isinstance(actions, Tensor) or not actions.dim() or len(actions) != n:
        got = f"a tensor of shape {tuple(actions.shape)}" if isinstance(actions, Tensor) else type(actions).__name__
        raise RedwoodError(f"predict returned {got} for {n} observations; return one action for each.")
    return actions.detach().cpu().numpy()

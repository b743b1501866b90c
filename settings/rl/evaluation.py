"""Score a method on one task: the mean return of whole episodes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.settings.errors import RedwoodError
from redwood.settings.rl.environment import TaskEnvironment

AT_ONCE = 64

Predict = Callable[[Tensor, Tensor | None], Tensor]


def total_return(
    predict: Predict,
    make: Callable[[], TaskEnvironment],
    episodes: Sequence[tuple[int, dict[str, Any] | None]],
    task_id: int | None,
) -> float:
    """The sum of the returns of some episodes, which are played side by side.

    Args:
        predict: Maps observations (B, ...) and tasks (B,) to actions (B, ...).
        make: Makes a copy of the environment.
        episodes: Seed and options of each.
        task_id: What the method is told of the task.
    """
    waiting = list(reversed(episodes))
    running: list[tuple[TaskEnvironment, Any]] = []
    for _ in range(min(AT_ONCE, len(episodes))):
        env = make()
        seed, options = waiting.pop()
        running.append((env, env.reset(seed=seed, options=options)[0]))
    total = 0.0
    while running:
        x = torch.from_numpy(np.stack([observation for _, observation in running]))
        told = None if task_id is None else torch.full((len(running),), task_id)
        actions = _checked(predict(x, told), len(running))
        still: list[tuple[TaskEnvironment, Any]] = []
        for (env, _), action in zip(running, actions, strict=True):
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            if not (terminated or truncated):
                still.append((env, observation))
            elif waiting:
                seed, options = waiting.pop()
                still.append((env, env.reset(seed=seed, options=options)[0]))
            else:
                env.close()
        running = still
    return total


def _checked(actions: Tensor, n: int) -> Any:
    if not isinstance(actions, Tensor) or len(actions) != n:
        got = f"a tensor of shape {tuple(actions.shape)}" if isinstance(actions, Tensor) else type(actions).__name__
        raise RedwoodError(f"predict returned {got} for {n} observations; return one action for each.")
    return actions.detach().cpu().numpy()

"""Equal shares of the tasks in each batch, where environment number k has task k modulo the number of tasks."""

from collections.abc import Generator
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples, RolloutBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from typing_extensions import override

from redwood.settings.rl.types import Array


class EqualSharesMemory(ReplayBuffer):
    """A replay memory of which each batch has equally many steps of each task, or one more of some drawn tasks."""

    def __init__(self, *args: Any, num_tasks: int, **options: Any) -> None:
        """Make an empty memory; all but `num_tasks` are the library's arguments."""
        super().__init__(*args, **options)
        self.num_tasks = num_tasks

    @override
    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw `batch_size` steps with replacement; `env` has to be None, because nothing is normalised."""
        assert env is None
        tasks = (np.arange(batch_size) + np.random.randint(self.num_tasks)) % self.num_tasks
        columns = tasks + self.num_tasks * np.random.randint(self.n_envs // self.num_tasks, size=batch_size)
        rows = np.random.randint(self.size(), size=batch_size)
        dones = self.dones[rows, columns] * (1 - self.timeouts[rows, columns])
        parts: list[Array] = [
            self.observations[rows, columns],
            self.actions[rows, columns],
            self.next_observations[rows, columns],
            dones[:, None],
            self.rewards[rows, columns, None],
        ]
        return ReplayBufferSamples(*map(self.to_torch, parts))


class EqualSharesRollout(RolloutBuffer):
    """A rollout of which each batch has equally many steps of each task, or one more of some tasks."""

    def __init__(self, *args: Any, num_tasks: int, **options: Any) -> None:
        """Make an empty rollout; all but `num_tasks` are the library's arguments."""
        super().__init__(*args, **options)
        self.num_tasks = num_tasks

    @override
    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield batches of all steps in a random order, in which the tasks take turns."""
        if not self.generator_ready:
            next(iter(super().get(1)))  # the library flattens its arrays on the way, one environment after the other
        total = self.buffer_size * self.n_envs
        tasks = np.arange(total) // self.buffer_size % self.num_tasks
        order = np.stack([np.random.permutation(np.flatnonzero(tasks == task)) for task in range(self.num_tasks)], 1)
        for start in range(0, total, batch_size or total):
            yield self._get_samples(order.ravel()[start : start + (batch_size or total)])

"""Replay memories for the algorithms of Stable-Baselines3: one that grows, and one that is a rehearsal buffer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.settings.rl.types import Array, Info, Space

LEAVES = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class GrowingMemory(ReplayBuffer):
    """A replay memory that doubles its size when it is full, instead of dropping its oldest steps.

    So nobody has to know the number of steps in advance, which settings without boundaries hide.
    """

    @override
    def add(self, *args: Any) -> None:
        super().add(*args)
        if self.full:
            self.make_room(2 * self.buffer_size)

    def make_room(self, size: int) -> None:
        """Make room for `size` steps of each environment; it has to be more than now."""
        stored = self.size()
        for name in LEAVES:
            old: Array = getattr(self, name)
            new = np.zeros((size, *old.shape[1:]), old.dtype)
            new[:stored] = old[:stored]
            setattr(self, name, new)
        self.buffer_size, self.pos, self.full = size, stored, False


BLOCK = 256


class RehearsalMemory(ReplayBuffer):
    """A replay memory that stores its steps in a rehearsal buffer, with the buffer's policy and sampler.

    The memory collects steps in blocks of `BLOCK`, and adds a block to the buffer at once. It adds an incomplete block
    before each draw and before each checkpoint, so a draw misses no step. A policy decides by the number of an arrival,
    so the blocks do not change its decisions.

    A policy or a sampler that needs labels gets the task of each step.

    A draw is without replacement. If fewer steps are stored than are asked for, each is drawn equally often.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: Space,
        action_space: Space,
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        make: Callable[[int], RehearsalBuffer],
    ) -> None:
        """Make an empty memory.

        Args:
            buffer_size: Steps that it holds, over all environments.
            observation_space: Space of the observations.
            action_space: Space of the actions.
            device: Device of the samples that are drawn.
            n_envs: Environments that are stepped together.
            optimize_memory_usage: Has to be False: a row holds both of its observations.
            handle_timeout_termination: Whether an episode that was cut off at its limit counts as going on.
            make: Makes the empty buffer of so many rows; each `reset` calls it again.
        """
        assert not optimize_memory_usage
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs)  # without its arrays
        self.optimize_memory_usage, self.handle_timeout_termination = False, handle_timeout_termination
        self._make = make
        self._rows = make(buffer_size)
        self._tells_tasks = bool(self._rows.needs)
        shape = (BLOCK, n_envs)
        actions = self._maybe_cast_dtype(action_space.dtype)
        self._block: dict[str, Array] = {
            "observations": np.empty((*shape, *self.obs_shape), observation_space.dtype),
            "actions": np.empty((*shape, self.action_dim), actions),
            "next_observations": np.empty((*shape, *self.obs_shape), observation_space.dtype),
            "dones": np.empty((*shape, 1), np.float32),
            "rewards": np.empty((*shape, 1), np.float32),
        }
        if self._tells_tasks:
            self._block["task_id"] = np.empty(shape, np.int64)
        self._n_staged = 0  # steps in the block

    @property
    def rows(self) -> RehearsalBuffer:
        """The buffer with all steps so far; a row is the step of one environment."""
        self._add_block()
        return self._rows

    @override
    def size(self) -> int:
        return len(self.rows)

    @override
    def reset(self) -> None:
        self._n_staged = 0
        self._rows = self._make(self.buffer_size)

    @override
    def add(self, obs: Array, next_obs: Array, action: Array, reward: Array, done: Array, infos: list[Info]) -> None:
        """Add one step of each environment, (n_envs, ...)."""
        place, block, n = self._n_staged, self._block, self.n_envs
        block["observations"][place] = obs.reshape(n, *self.obs_shape)
        block["next_observations"][place] = next_obs.reshape(n, *self.obs_shape)
        block["actions"][place] = action.reshape(n, self.action_dim)
        block["rewards"][place, :, 0] = reward
        block["dones"][place, :, 0] = done
        if self.handle_timeout_termination:
            for number in np.flatnonzero(done):
                block["dones"][place, number] *= not infos[number].get("TimeLimit.truncated", False)
        if self._tells_tasks:
            block["task_id"][place] = [info["task_id"] for info in infos]
        self._n_staged += 1
        if self._n_staged == BLOCK:
            self._add_block()

    def _add_block(self) -> None:
        if self._n_staged:
            n_staged, self._n_staged = self._n_staged, 0
            rows = {
                name: torch.from_numpy(leaf[:n_staged].reshape(n_staged * self.n_envs, *leaf.shape[2:]))
                for name, leaf in self._block.items()
            }
            self._rows.add(rows, labels=rows.get("task_id"))

    @override
    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw `batch_size` steps; `env` has to be None, because nothing is normalised."""
        assert env is None
        rows, draws = self.rows, list[Tensor]()
        while batch_size:
            draws.append(rows.draw(min(batch_size, rows.capacity)))
            batch_size -= len(draws[-1])
        samples = rows.read(draws[0] if len(draws) == 1 else torch.cat(draws), device=self.device)
        samples.pop("task_id", None)
        return ReplayBufferSamples(**samples)

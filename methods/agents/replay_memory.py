"""A rehearsal buffer as the replay memory of an off-policy agent."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from redwood.buffers import RehearsalBuffer

BLOCK = 256


class RehearsalMemory(ReplayBuffer):
    """What Stable-Baselines3 takes for a replay memory, with this project's storage, policy and sampler within.

    Steps are put together in blocks before they are offered to the buffer, which happens before anything is drawn or
    saved: no step is missing from a draw, and as the buffer's decisions depend on the number of a step's arrival alone,
    they are those of steps that are offered one by one.

    Where policy or sampler ask for classes or tasks, they are told the tasks.

    A draw is without replacement, but while fewer steps are stored than asked for, when each is drawn as often.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        *,
        make: Callable[[int], RehearsalBuffer],
    ) -> None:
        """An empty memory.

        Args:
            buffer_size: Steps that it holds, over all environments.
            observation_space: Space of the observations.
            action_space: Space of the actions.
            device: Where samples are wanted.
            n_envs: Environments that are stepped together.
            optimize_memory_usage: Has to be False: a row holds both of its observations.
            handle_timeout_termination: Whether episodes that were only cut off count as going on.
            make: Makes the empty buffer of so many rows; called anew at each `reset`.
        """
        assert not optimize_memory_usage
        # Not ReplayBuffer's own, whose arrays would be in vain.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs)
        self.optimize_memory_usage, self.handle_timeout_termination = False, handle_timeout_termination
        self._make = make
        self._rows = make(buffer_size)
        self._tells_tasks = bool(self._rows.needs)
        shape = (BLOCK, n_envs)
        actions = self._maybe_cast_dtype(action_space.dtype)
        self._block: dict[str, np.ndarray[Any, Any]] = {
            "observations": np.empty((*shape, *self.obs_shape), observation_space.dtype),
            "actions": np.empty((*shape, self.action_dim), actions),
            "next_observations": np.empty((*shape, *self.obs_shape), observation_space.dtype),
            "dones": np.empty((*shape, 1), np.float32),
            "rewards": np.empty((*shape, 1), np.float32),
        }
        if self._tells_tasks:
            self._block["task_id"] = np.empty(shape, np.int64)
        self._n_staged = 0

    @property
    def rows(self) -> RehearsalBuffer:
        """The buffer, with all steps so far; a row is one environment's step."""
        self._insert()
        return self._rows

    def size(self) -> int:
        """Steps that are stored."""
        return len(self.rows)

    def reset(self) -> None:
        """Forget all steps."""
        self._n_staged = 0
        self._rows = self._make(self.buffer_size)

    def add(
        self,
        obs: np.ndarray[Any, Any],
        next_obs: np.ndarray[Any, Any],
        action: np.ndarray[Any, Any],
        reward: np.ndarray[Any, Any],
        done: np.ndarray[Any, Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Take in one step of each environment (n_envs, ...)."""
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
            self._insert()

    def _insert(self) -> None:
        if self._n_staged:
            n_staged, self._n_staged = self._n_staged, 0
            rows = {
                name: torch.from_numpy(leaf[:n_staged].reshape(n_staged * self.n_envs, *leaf.shape[2:]))
                for name, leaf in self._block.items()
            }
            self._rows.add(rows, labels=rows.get("task_id"))

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw `batch_size` steps; `env` has to be None, as nothing is normalised."""
        assert env is None
        rows, parts = self.rows, list[Tensor]()
        while batch_size:
            parts.append(rows.draw(min(batch_size, rows.capacity)))
            batch_size -= len(parts[-1])
        samples = rows.read(parts[0] if len(parts) == 1 else torch.cat(parts), device=self.device)
        samples.pop("task_id", None)
        return ReplayBufferSamples(**samples)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take, filled or not."""
        return self.rows.nbytes

    def state_dict(self) -> dict[str, Any]:
        """All that is stored, and what the next decisions and draws depend on."""
        return {"rows": self.rows.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._n_staged = 0
        self._rows.load_state_dict(state["rows"])

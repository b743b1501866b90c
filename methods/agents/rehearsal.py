"""A rehearsal buffer as replay memory (Isele & Cosgun, 2018, "Selective Experience Replay for Lifelong Learning")."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from redwood.buffers import RehearsalBuffer
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.agents.replay_memory import ReplayPart
from redwood.methods.base import Composition
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting

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


# Those that go by neither losses nor features; for classes they are told the tasks.
BUFFER_POLICIES = ("reservoir", "ring")
BUFFER_SAMPLERS = ("uniform", "task_balanced")


@dataclass
class AgentRehearsal(ReplayPart):
    """Learn from a small memory that holds a random subset of all steps so far: what they call distribution matching.

    It is the same memory that `rehearsal` keeps samples of a supervised stream in. Under several workers each keeps an
    equal part of it, filled from its own environments.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE
    replaces: ClassVar[bool] = True

    buffer_size: int = 5_000  # steps that the memory holds, over all workers
    buffer_policy: str = "reservoir"  # what is kept: reservoir, or ring (as much of each task, the newest)
    buffer_sampler: str = "uniform"  # what is drawn: uniform, or task_balanced (as much of each task)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "buffer_size", 1)
        check_choice(self, "buffer_policy", BUFFER_POLICIES)
        check_choice(self, "buffer_sampler", BUFFER_SAMPLERS)

    def configure(self, setting: Setting) -> None:
        """Build the agent with an empty memory.

        Raises:
            InvalidOptionError: If policy or sampler go by task ids, and there are none.
        """
        for option, value, other in (
            ("buffer_policy", self.buffer_policy, BUFFER_POLICIES[0]),
            ("buffer_sampler", self.buffer_sampler, BUFFER_SAMPLERS[0]),
        ):
            if value != other and setting.assumptions.task_ids < TaskIds.TRAINING:
                raise InvalidOptionError(
                    f"--{option} {value} needs task ids, which {type(setting).__name__} does not give; choose {other}."
                )
        if self.buffer_size < world_size():
            raise InvalidOptionError(f"--buffer_size {self.buffer_size} has to be at least --workers {world_size()}.")
        super().configure(setting)

    def algorithm_options(self) -> dict[str, Any]:
        """The options, with this worker's part of the memory."""
        share, rest = divmod(self.buffer_size, world_size())
        return super().algorithm_options() | {"buffer_size": share + (rank() < rest)}

    def replay_buffer_options(self) -> dict[str, Any]:
        """The memory, and what makes its buffer."""
        seed = derive_seed(self.setting.seed, "buffer", rank())
        make = partial(_make_buffer, policy=self.buffer_policy, sampler=self.buffer_sampler, seed=seed)
        return super().replay_buffer_options() | {
            "replay_buffer_class": RehearsalMemory,
            "replay_buffer_kwargs": {"make": make},
        }

    def memory_state(self) -> dict[str, Any]:
        """What the buffer holds, and what its next decisions and draws depend on."""
        return self._memory.state_dict()

    def load_memory(self, state: dict[str, Any]) -> None:
        """Go on from an earlier `memory_state`."""
        self._memory.load_state_dict(state)

    def memory_bytes(self) -> int:
        """Bytes of the buffer."""
        return self._memory.nbytes

    @property
    def _memory(self) -> RehearsalMemory:
        memory: RehearsalMemory = self.algorithm.replay_buffer
        return memory


def _make_buffer(capacity: int, *, policy: str, sampler: str, seed: int) -> RehearsalBuffer:
    return RehearsalBuffer(capacity, policy=policy, sampler=sampler, seed=seed)

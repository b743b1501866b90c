"""The base of reinforcement agents: an algorithm of Stable-Baselines3, of which a subclass changes what is learned."""

import inspect
from abc import abstractmethod
from collections import deque
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError, RedwoodError, is_raised_in, reason_of
from redwood.core.registry import reference_of
from redwood.core.seeding import derive_seed, generator
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.methods.agents.divergence import divergence_told
from redwood.methods.agents.options import POLICIES, channels_first, check_options, check_spaces, choose_policy
from redwood.methods.agents.task_input import TASK_INPUTS, task_input
from redwood.methods.agents.update_flops import UpdateFlops
from redwood.methods.base import Composition, Method
from redwood.methods.table import AGENT_PARTS, references
from redwood.settings.base import Setting
from redwood.settings.results import Results
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import ContinualRLSetting

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

SMALL_NETWORK = 1_000_000
NEWEST = 2048


@dataclass
class Agent(Method):
    """Train an algorithm of Stable-Baselines3 on the environments of each phase.

    The library's loop is called once per phase, so exploration and schedules start anew where boundaries are announced;
    network, optimizers and replay memory go on. Its options have the library's names and defaults.

    A subclass overrides `before_step` (to change gradients), `after_step` (to change weights), `learn`, or what the
    replay memory is. These compose: a subclass whose overrides all call `super()` says so with
    `composition = Composition.ANYWHERE`.

    Set in a subclass:
        action_spaces: The kinds of actions that it can choose.

    Attributes that a subclass may use:
        input: What is appended to observations, so that networks are told the task.
        algorithm: The library's algorithm, with its `policy` and, off policy, its `replay_buffer`.
        setting: The setting, as far as it shows itself.
        phase: The phase that is being trained.
        phase_count: Phases that are over.
        device: Where the networks are.
        flops: Counts operations; those of the updates by itself, others with `self.flops.count()`.
    """

    target = ContinualRLSetting
    composition: ClassVar[Composition] = Composition.LAST
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = ()

    policy: str = "auto"  # MlpPolicy, CnnPolicy, or auto: CnnPolicy for images of 36 pixels or more
    task_input: str = "auto"  # how networks learn the task: none, one_hot, or auto (one_hot if ids are given at test)
    n_envs: int = 1  # copies of the environment that are stepped together; each step of each copy counts

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        check_choice(self, "policy", ("auto", *POLICIES))
        check_choice(self, "task_input", TASK_INPUTS)
        check_range(self, "n_envs", 1)
        check_options(self)

    @classmethod
    def reference(cls) -> str:
        """The key of the agent, or of what can be joined to one, or the reference that loads its class."""
        parts = references(AGENT_PARTS)
        own = reference_of(cls, parts)
        return own if own in parts else super().reference()

    @classmethod
    @abstractmethod
    def algorithm_class(cls) -> "type[BaseAlgorithm]":
        """The library's class; imported here, so that tables of methods can be read without the library."""

    def algorithm_options(self) -> dict[str, Any]:
        """What the library's class is called with: all fields that it has a parameter of the same name for."""
        known = inspect.signature(self.algorithm_class()).parameters
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name in known}
        return options | {"policy": choose_policy(self.policy, self.observation_space)}

    def configure(self, setting: Setting) -> None:
        """Build networks and memory for the setting's spaces.

        Raises:
            RedwoodError: If Stable-Baselines3 is missing, or an option does not go with the setting or the run.
        """
        try:
            from redwood.methods.agents.vec_env import no_environments
        except ModuleNotFoundError as missing:
            raise RedwoodError(
                f"{self.reference()} needs the package {missing.name}, which is not installed; "
                "pip install 'redwood[rl]'."
            ) from missing
        self.setting = setting
        check_spaces(self, setting)
        self._check_run(setting)
        self.device = self.run.device(setting.workers)
        self.phase_count = 0
        self.newest: deque[Any] = deque(maxlen=NEWEST)
        self.input = task_input(self, setting)
        env = no_environments(self.observation_space, setting.action_space, self.n_envs)
        options = self.algorithm_options()
        try:
            self.algorithm: Any = self.algorithm_class()(env=env, device=self.device, **options)
        except (AssertionError, ValueError) as error:
            if not is_raised_in(error, "stable_baselines3", "torch"):
                raise
            raise InvalidOptionError(
                f"Stable-Baselines3 refuses the options of {self.reference()} ({reason_of(error)}); change them."
            ) from error
        except MemoryError as error:
            name = "buffer_size" if hasattr(self, "buffer_size") else "n_steps"
            raise InvalidOptionError(
                f"--{name} {getattr(self, name)} is too much for the memory ({reason_of(error)}); use a smaller one."
            ) from error
        self.algorithm.env = None
        self._watch_optimizers()
        self._set_threads()

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """What the networks see: observations of the setting, with the code of the task where `task_input` says so."""
        return self.input.space

    def _check_run(self, setting: Setting) -> None:
        if self.run.precision != "32-true":
            raise InvalidOptionError(
                f"--precision {self.run.precision} is not for {self.reference()}, which computes in 32-true; "
                "leave it out."
            )
        if setting.workers > 1 and getattr(self, "target_kl", None) is not None:
            raise InvalidOptionError(
                f"--target_kl {self.target_kl} ends the updates of each worker at a time of its own, "  # type: ignore[attr-defined]
                f"but {setting.workers} workers have to make the same number; leave it out."
            )

    def _watch_optimizers(self) -> None:
        self.flops = UpdateFlops(len(self.optimizers()))
        for index, optimizer in enumerate(self.optimizers()):

            def before(optimizer: Optimizer, args: Any, kwargs: Any, index: int = index) -> None:
                self.flops.note_step(index)
                self.before_step(optimizer)

            def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
                self.after_step(optimizer)

            optimizer.register_step_pre_hook(before)
            optimizer.register_step_post_hook(after)

    def _set_threads(self) -> None:
        # Small networks are several times slower on many threads than on one.
        small = self.device.type == "cpu" and sum(p.numel() for p in self.algorithm.policy.parameters()) < SMALL_NETWORK
        if self.run.threads or small:
            torch.set_num_threads(self.run.threads or 1)

    # What a subclass changes.

    def before_step(self, optimizer: Optimizer) -> None:
        """Between the gradients, clipped, and the step: here, workers take the mean of their gradients."""
        if world_size() == 1:
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        mean = sum_over_workers(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def after_step(self, optimizer: Optimizer) -> None:
        """After a step of one of the optimizers."""

    def before_rollout(self, phase: ReinforcementPhase) -> None:
        """Between the updates and the next steps of the environments."""

    def learn(self, phase: ReinforcementPhase, steps: int) -> None:
        """Train for `steps` more steps of the phase's budget; as many as are left, unless a subclass divides them.

        Steps that fill no more step of all `n_envs` environments are not taken; a rollout of an on-policy agent that is
        not complete at the end is not learned from.
        """
        self.session.learn(steps)

    # What a subclass, too, may ask for.

    def optimizers(self) -> list[Optimizer]:
        """All optimizers of the algorithm, always in the same order."""
        from stable_baselines3.common.save_util import recursive_getattr

        objects = [recursive_getattr(self.algorithm, name) for name in self.algorithm._get_torch_save_params()[0]]
        return [entry for entry in objects if isinstance(entry, Optimizer)]

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The policy's parameters that optimizers train; target networks, which follow others, are left out."""
        trained = {
            id(p) for optimizer in self.optimizers() for group in optimizer.param_groups for p in group["params"]
        }
        return {name: p for name, p in self.algorithm.policy.named_parameters() if id(p) in trained}

    @abstractmethod
    def outputs(self, observations: Tensor) -> Tensor:
        """What decides the actions, differentiable: logits, Q-values, or means and logarithms of standard deviations.

        Args:
            observations: (B, ...) of `observation_space`, on any device.

        Returns:
            (B, K), on the agent's device.
        """

    def policy_input(self, observations: Tensor) -> Tensor:
        """Observations (B, ...) of `observation_space`, as the library's networks take them: images (B, C, H, W)."""
        observations = observations.to(self.device)
        return observations.movedim(-1, 1) if channels_first(self) else observations

    def recent_observations(self, n: int) -> Tensor:
        """A random choice of `n` of the newest observations in the phase, or all of them if there are fewer.

        Returns:
            (n, ...) of `observation_space`, on the CPU, of at most `NEWEST` steps before; the same ones whenever it
            is asked in one phase.
        """
        if not self.newest:
            space = self.observation_space
            return torch.from_numpy(np.empty((0, *(space.shape or ())), space.dtype))
        newest = torch.from_numpy(np.concatenate(self.newest))
        choice = generator(self.setting.seed, "recent observations", self.phase_count, rank())
        return newest[torch.randperm(len(newest), generator=choice)[:n]]

    # What the setting calls.

    def fit(self, phase: ReinforcementPhase) -> None:
        """Learn from one phase."""
        from redwood.methods.agents.sb3_loop import Session

        self.phase = phase
        self.newest.clear()
        self.algorithm.action_space.seed(derive_seed(self.setting.seed, "exploration", phase.index, rank()) % 2**31)
        self.session = Session(self, phase)
        self.session.resume()
        with divergence_told(self, phase):
            self.learn(phase, phase.budget.left)
            self.session.close()
        del self.session
        self.run.global_step += phase.budget.spent
        self.phase_count += 1

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The best action for each observation: (B,) choices, or (B, d) numbers within the bounds."""
        seen = self.input.join(x.numpy(), None if task_id is None else task_id.numpy())
        actions, _ = self.algorithm.predict(seen, deterministic=True)
        space = self.setting.action_space
        if isinstance(space, spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        return torch.from_numpy(np.asarray(actions))

    def on_finish(self, results: Results) -> None:
        """Let go of the environments."""
        self.__dict__.pop("phase", None)

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers, counters and accounts."""
        from redwood.methods.agents.state import algorithm_state

        own = {
            "algorithm": algorithm_state(self.algorithm),
            "phase_count": self.phase_count,
            "flops": self.flops.counts(),
        }
        return own | super().state_dict()

    def inside_state(self) -> dict[str, Any]:
        """What a checkpoint inside a phase holds of it, beside the position in the phase."""
        return self.state_dict() | {"newest": torch.from_numpy(np.stack(self.newest)) if self.newest else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier agent."""
        from redwood.methods.agents.state import load_algorithm

        load_algorithm(self.algorithm, state["algorithm"])
        self.phase_count = int(state["phase_count"])
        self.newest.clear()
        if state.get("newest") is not None:
            newest, space = state["newest"].numpy(), self.observation_space
            if newest.shape[1:] != (self.n_envs, *(space.shape or ())) or newest.dtype != space.dtype:
                raise ValueError("its newest observations are those of other environments")
            self.newest.extend(newest)
        self.flops.load_counts(state["flops"])
        super().load_state_dict(state)

    def costs(self) -> dict[str, Any]:
        """FLOPs of the updates so far, trained parameters, and what is held besides the networks."""
        return {
            "training_flops": self.flops.total(),
            "parameters": sum(p.numel() for p in self.named_parameters().values()),
            "buffer_bytes": super().costs()["buffer_bytes"] + self.memory_bytes(),
        }

    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes of the experience that is held."""

"""The base of reinforcement agents: an algorithm of Stable-Baselines3, with hooks around its training."""

import inspect
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.child_processes import check_processes
from redwood.core.errors import InvalidOptionError, RedwoodError, is_raised_in, reason_of
from redwood.core.registry import reference_of
from redwood.core.seeding import derive_seed, generator
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.methods.agents.options import (
    POLICIES,
    check_equal_shares,
    check_options,
    check_spaces,
    choose_policy,
)
from redwood.methods.agents.policy_kwargs import as_text, library_policy_kwargs, read_policy_kwargs
from redwood.methods.agents.task_heads import head_parameters, skip_idle_heads
from redwood.methods.agents.task_input import TASK_INPUTS, OneHotTask, choose_task_input
from redwood.methods.agents.update_flops import UpdateFlops
from redwood.methods.base import Composition, Method
from redwood.methods.table import AGENT_PARTS, references
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import ContinualRLSetting
from redwood.settings.rl.types import Array, Space
from redwood.settings.scores.results import Results

if TYPE_CHECKING:
    from redwood.methods.agents.state import Algorithm

SMALL_NETWORK = 1_000_000  # weights; a smaller network is several times slower on many threads than on one
NEWEST = 2048  # steps whose observations are kept for `recent_observations`


@dataclass
class Agent(Method):
    """Train an algorithm of Stable-Baselines3 on the environments of each phase.

    Each phase calls the library's training loop once, so exploration and schedules start anew where boundaries are
    announced. Network, optimizers and replay memory are kept from phase to phase. The options have the library's names
    and defaults.

    A subclass overrides `before_step` (to change gradients), `after_step` (to change weights), `before_rollout`,
    `learn`, or the replay memory. A subclass whose overrides all call `super()` declares
    `composition = Composition.ANYWHERE`: it can be joined to any agent.

    Set in a subclass:
        algorithm_name: Name of the algorithm's class in the package `stable_baselines3`.
        action_spaces: Kinds of action spaces that the algorithm can handle.
        network_parts: Networks of which `net_arch` in `policy_kwargs` may give the sizes separately.
        reads_recent: Whether `recent_observations` is used; only then are they kept.
        without_second_phase: For a part that begins with the second phase, what is said of a run with one phase.

    Attributes:
        input: Appends the code of the task to observations, where `task_input` asks for it.
        algorithm: The library's algorithm, with its `policy` and, off policy, its `replay_buffer`.
        setting: The method's view of the setting.
        phase: The phase that is being trained.
        phase_count: Number of phases that are over.
        device: Where the networks are.
        flops: Counts operations of all updates; `self.flops.count()` counts others.
        newest: The last observations of the phase, (n_envs, ...) for each step; empty unless `reads_recent`.
    """

    target = ContinualRLSetting
    composition: ClassVar[Composition] = Composition.LAST
    algorithm_name: ClassVar[str] = ""
    action_spaces: ClassVar[tuple[type[Space], ...]] = ()
    network_parts: ClassVar[tuple[str, ...]] = ()
    reads_recent: ClassVar[bool] = False
    without_second_phase: ClassVar[str] = ""

    policy: str = "auto"  # MlpPolicy, CnnPolicy, or auto: CnnPolicy for images of 36 pixels or more
    policy_kwargs: Any = ""  # sizes and kinds of networks, such as "{net_arch: [256, 256], activation_fn: tanh}"
    task_input: str = "auto"  # how networks learn the task: none, one_hot, heads, or auto (one_hot if ids are at test)
    n_envs: int = 1  # copies of the environment that are stepped together; each step of each copy counts
    task_shares: str = "random"  # tasks of a joint phase: random for each episode, or equal parts of n_envs and batches
    env_processes: int = 0  # processes that step these copies side by side, with equal results (0: this process)
    overlap_rollout: bool = False  # off-policy: update while env_processes step; actions come from one update earlier

    def __post_init__(self) -> None:
        check_choice(self, "policy", ("auto", *POLICIES))
        check_choice(self, "task_input", TASK_INPUTS)
        check_range(self, "n_envs", 1, 10_000)
        check_choice(self, "task_shares", ("random", "equal"))
        check_range(self, "env_processes", 0, 1024)
        if self.env_processes > self.n_envs:
            raise InvalidOptionError(
                f"--env_processes {self.env_processes} is more than --n_envs {self.n_envs}, but each process needs an "
                "environment; use fewer processes, or more environments."
            )
        if self.overlap_rollout and not self.env_processes:
            raise InvalidOptionError(
                "--overlap_rollout true updates while other processes step the environments, but --env_processes is 0; "
                "use --env_processes 1 or more, or leave it out."
            )
        check_options(self)
        self.policy_kwargs = as_text(read_policy_kwargs(self.policy_kwargs))
        if self.task_input == "heads" and getattr(self, "use_sde", False):
            raise InvalidOptionError(
                "--use_sde draws noise from features that all tasks share, which --task_input heads does not have; "
                "use one_hot, or leave --use_sde out."
            )

    @override
    @classmethod
    def reference(cls) -> str:
        """Return the key of the agent or of the part, or the reference that loads its class."""
        parts = references(AGENT_PARTS)
        own = reference_of(cls, parts)
        return own if own in parts else super().reference()

    # Building the algorithm.

    @classmethod
    def algorithm_class(cls) -> "type[Algorithm]":
        """Return the library's class; the library is an optional package, so only this call imports it."""
        import stable_baselines3

        algorithm: type[Algorithm] = getattr(stable_baselines3, cls.algorithm_name)
        return algorithm

    def algorithm_options(self) -> dict[str, object]:
        """Return the arguments of the library's class: every field of the agent that is also a parameter of it."""
        known = inspect.signature(self.algorithm_class()).parameters
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name in known}
        return options | self._network_options()

    def _network_options(self) -> dict[str, object]:
        """Return `policy` and `policy_kwargs` of the library."""
        policy, kwargs = choose_policy(self.policy, self.observation_space), read_policy_kwargs(self.policy_kwargs)
        if kwargs:
            algorithm: Any = self.algorithm_class()
            known = list(inspect.signature(algorithm.policy_aliases[policy]).parameters)
            kwargs = library_policy_kwargs(kwargs, known, self.network_parts)
        if isinstance(self.input, OneHotTask) and self.input.heads:
            from redwood.methods.agents.heads_policies import heads_options

            return heads_options(self.algorithm_name, self.input, policy, kwargs)
        return {"policy": policy, "policy_kwargs": kwargs}

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        """Build networks and memory for the setting's spaces.

        Raises:
            RedwoodError: If Stable-Baselines3 is missing, or an option does not fit the setting or the run.
        """
        self.setting = setting
        check_spaces(self.reference(), self.action_spaces, setting)
        if self.task_shares == "equal":
            check_equal_shares(setting, self.n_envs, getattr(self, "batch_size", None))
        self._check_run(setting)
        check_processes("env_processes", self.env_processes)
        self.device = self.run.device(setting.workers)
        self.phase_count = self.add_state("phase_count", 0)
        self.newest: deque[Array] = deque(maxlen=NEWEST if self.reads_recent else 0)
        self.algorithm: Any = self._build_algorithm(setting)
        self._watch_optimizers()
        self._set_threads()

    def _build_algorithm(self, setting: ContinualRLSetting) -> "Algorithm":
        try:
            from redwood.methods.agents import state, vec_env
        except ModuleNotFoundError as missing:
            raise RedwoodError(
                f"{self.reference()} needs the package {missing.name}, which is not installed; "
                "pip install 'redwood[rl]'."
            ) from missing
        self.input = choose_task_input(self.task_input, setting, setting.num_tasks)
        env = vec_env.spaces_only(self.observation_space, setting.action_space, self.n_envs)
        options = self.algorithm_options()
        make: Callable[..., Algorithm] = self.algorithm_class()
        try:
            algorithm = make(env=env, device=self.device, **options)
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
        algorithm.env = None
        self._head_parameters = head_parameters(algorithm.policy)
        self.add_state("algorithm_state", state.AlgorithmState(algorithm), buffer=True)
        return algorithm

    @property
    def observation_space(self) -> Space:
        """The space of the networks' inputs: observations, with the code of the task where `task_input` asks for it."""
        return self.input.space

    def _check_run(self, setting: ContinualRLSetting) -> None:
        if self.run.precision != "32-true":
            raise InvalidOptionError(
                f"--precision {self.run.precision} is not for {self.reference()}, which computes in 32-true; "
                "leave it out."
            )
        target_kl = getattr(self, "target_kl", None)
        if setting.workers > 1 and target_kl is not None:
            raise InvalidOptionError(
                f"--target_kl {target_kl} ends the updates of each worker at a time of its own, "
                f"but {setting.workers} workers have to make the same number; leave it out."
            )

    def _watch_optimizers(self) -> None:
        """Call `before_step` and `after_step` around each step of each optimizer."""
        self.flops = self.add_state("flops", UpdateFlops(len(self.optimizers())))
        for index, optimizer in enumerate(self.optimizers()):

            def before(optimizer: Optimizer, args: object, kwargs: object, index: int = index) -> None:
                self.flops.note_step(index)
                self.before_step(optimizer)

            def after(optimizer: Optimizer, args: object, kwargs: object) -> None:
                self.after_step(optimizer)

            optimizer.register_step_pre_hook(before)
            optimizer.register_step_post_hook(after)

    def _set_threads(self) -> None:
        small = self.device.type == "cpu" and sum(p.numel() for p in self.algorithm.policy.parameters()) < SMALL_NETWORK
        if self.run.threads or small:
            torch.set_num_threads(self.run.threads or 1)

    # Hooks, which a subclass overrides.

    def before_step(self, optimizer: Optimizer) -> None:
        """Change gradients after clipping, before the optimizer's step.

        By default, workers average their gradients, and heads of tasks outside the batch are not trained.
        """
        if world_size() > 1:
            self._average_gradients(optimizer)
        if self._head_parameters:
            skip_idle_heads(optimizer, self._head_parameters)

    def _average_gradients(self, optimizer: Optimizer) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        mean = sum_over_workers(torch.cat([gradient.flatten() for gradient in gradients])) / world_size()
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def after_step(self, optimizer: Optimizer) -> None:
        """Change weights after the optimizer's step."""

    def before_rollout(self, phase: ReinforcementPhase) -> None:
        """Act between the last update and the next steps in the environments."""

    def learn(self, phase: ReinforcementPhase, steps: int) -> None:
        """Train for `steps` steps of the phase's budget: all that are left, unless a subclass divides them.

        The last steps are not taken if they are too few for one step in each of the `n_envs` environments. An
        on-policy agent does not learn from a rollout that the end cuts off.
        """
        self.loop.learn(steps)

    @abstractmethod
    def outputs(self, observations: Tensor) -> Tensor:
        """Return the outputs that decide the actions, differentiable: logits, Q-values, or means and log deviations.

        Args:
            observations: (B, ...) of `observation_space`, on any device.

        Returns:
            (B, K), on the agent's device.
        """

    def critic_outputs(self, observations: Tensor) -> Tensor:
        """Return what the critics say of observations (B, ...), differentiable: (B, C), with C = 0 if there are none.

        Q-values are those of the action that the agent would choose; the action itself has no gradient.
        """
        return torch.zeros(len(observations), 0, device=self.device)

    # Helpers for subclasses.

    def optimizers(self) -> list[Optimizer]:
        """Return all optimizers of the algorithm, always in the same order."""
        names, _ = self.algorithm._get_torch_save_params()
        modules = [attrgetter(name)(self.algorithm) for name in names]
        return [module for module in modules if isinstance(module, Optimizer)]

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return the policy's parameters that optimizers train, so without target networks, which copy others."""
        trained = {
            id(p) for optimizer in self.optimizers() for group in optimizer.param_groups for p in group["params"]
        }
        return {name: p for name, p in self.algorithm.policy.named_parameters() if id(p) in trained}

    def policy_input(self, observations: Tensor) -> Tensor:
        """Turn observations (B, ...) of `observation_space` into the library's inputs: images become (B, C, H, W)."""
        observations = observations.to(self.device)
        moves_channels = self.algorithm.observation_space.shape != self.observation_space.shape
        return observations.movedim(-1, 1) if moves_channels else observations

    def recent_observations(self, n: int) -> Tensor:
        """Choose `n` of the phase's last `NEWEST` steps at random, or all of them if there are fewer.

        Returns:
            (n, ...) of `observation_space`, on the CPU; each call in a phase chooses the same ones.

        Raises:
            TypeError: If the class does not set `reads_recent`.
        """
        if not self.reads_recent:
            raise TypeError(f"{type(self).__name__} uses recent_observations; set reads_recent = True in the class.")
        if not self.newest:
            space = self.observation_space
            return torch.from_numpy(np.empty((0, *(space.shape or ())), space.dtype))
        newest = torch.from_numpy(np.concatenate(self.newest))
        choice = generator(self.setting.seed, "recent observations", self.phase_count, rank())
        return newest[torch.randperm(len(newest), generator=choice)[:n]]

    def warn_if_beyond_recent(self, name: str) -> None:
        """Warn if the option `name` asks for more of a task's observations than are kept."""
        kept = NEWEST * self.n_envs
        if getattr(self, name) > kept and rank() == 0:
            warn(
                f"--{name} {getattr(self, name)} is more than the last {kept} observations of a task that are kept "
                f"({NEWEST} for each of --n_envs), so {kept} are used; use a smaller one, or a larger --n_envs."
            )

    # What the run calls.

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        from redwood.methods.agents.sb3_loop import SB3Loop, raise_on_divergence

        self.phase = phase
        self.newest.clear()
        self.algorithm.action_space.seed(derive_seed(self.setting.seed, "exploration", phase.index, rank()) % 2**31)
        self.loop = SB3Loop(self, phase)
        self.loop.resume()
        with raise_on_divergence(self.named_parameters(), phase):
            self.learn(phase, phase.budget.left)
            self.loop.close()
        del self.loop
        self.run.global_step += phase.budget.spent
        self.phase_count += 1

    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return the best action for each observation: (B,) choices, or (B, d) numbers within the bounds."""
        seen = self.input.join(x.numpy(), None if task_id is None else task_id.numpy())
        actions, _ = self.algorithm.predict(seen, deterministic=True)
        space = self.setting.action_space
        if isinstance(space, spaces.Box):
            actions = np.clip(actions, space.low, space.high)
        return torch.from_numpy(np.asarray(actions))

    @override
    def on_finish(self, results: Results) -> None:
        self.__dict__.pop("phase", None)  # it holds the environments

    @override
    def never_acted(self) -> str | None:
        if self.without_second_phase and self.phase_count < 2:
            return f"{self.without_second_phase}: this begins with the second phase, and the run has only one."
        return super().never_acted()

    @override
    def costs(self) -> State:
        return super().costs() | {
            "training_flops": self.flops.total(),
            "parameters": sum(p.numel() for p in self.named_parameters().values()),
        }

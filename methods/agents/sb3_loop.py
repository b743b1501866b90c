"""The training of an agent in one phase: the library's loop with progress, FLOPs and checkpoints around it."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.schema import check_alike
from redwood.core.seeding import preserved_random_state, random_state, set_random_state
from redwood.core.state import State
from redwood.core.workers import gather_objects, rank
from redwood.engine.checkpoints import RESTART_PHASE, read_checkpoint, write_checkpoint
from redwood.engine.fingerprint import STAMP
from redwood.engine.signals import postpone_signals, stop
from redwood.engine.stop_vote import StopVote
from redwood.methods.agents.action_noise import load_noise_state, noise_state
from redwood.methods.agents.agent import Agent
from redwood.methods.agents.delayed_update import DelayedUpdate
from redwood.methods.agents.sb3_callbacks import ProgressCallback, run_logger
from redwood.methods.agents.vec_env import PhaseVecEnv, StepsSpentError
from redwood.settings.rl.environment import InvalidActionError
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.plain_state import NotPlainError
from redwood.settings.rl.types import Array, Space

# Bytes of checkpoints for each step that is taken: writing them takes about a hundredth of the time of the steps.
BYTES_PER_STEP = 4096
# Weights start below 1, and steps of a usual learning rate do not bring them here.
LARGEST_WEIGHT = 1e6


class SB3Loop:
    """Trains an agent in the environments of one phase.

    Attributes:
        FOREIGN: Errors of loading a state that belongs to another agent or to other environments.
    """

    FOREIGN = (AttributeError, IndexError, KeyError, NotPlainError, OverflowError, RuntimeError, TypeError, ValueError)

    def __init__(self, agent: Agent, phase: ReinforcementPhase) -> None:
        """Give the algorithm the phase's environments and a logger."""
        self._agent, self._phase, self._run = agent, phase, agent.run
        self._algorithm = agent.algorithm
        self._environments = PhaseVecEnv(
            phase, agent.n_envs, agent.newest, agent.input, agent.env_processes, each_task=agent.task_shares == "equal"
        )
        self._environments.clips = self._algorithm.policy.squash_output
        self._train = self._counted(self._algorithm.train)
        self._delayed: DelayedUpdate | None = None
        if agent.overlap_rollout:
            assert isinstance(self._algorithm, OffPolicyAlgorithm)
            self._delayed = DelayedUpdate(self._algorithm, self._train)
            self._environments.meanwhile = self._delayed.run
        self._algorithm.set_env(self._environments)
        self._algorithm.set_logger(run_logger(agent.run, phase))
        self._next_save = self._step_of_next_save()
        self._resumed_random: State | None = None  # state of the random numbers, from a checkpoint
        self._resumed_noise: list[Tensor] = []  # values of the noise on actions, from a checkpoint
        self._is_resumed = False
        self._vote = StopVote(every=1)  # each rollout of some agents takes thousands of steps

    # Training.

    def learn(self, steps: int) -> None:
        """Run the library's loop for `steps` steps; after `resume`, from the checkpoint on."""
        algorithm, is_resumed = self._algorithm, self._is_resumed
        self._is_resumed = False
        self._environments.stop_at = self._phase.budget.spent + steps
        # The library adds the steps that are done to the steps of a loop that goes on.
        total = algorithm._total_timesteps - algorithm.num_timesteps if is_resumed else steps
        wrapped = {
            "collect_rollouts": self._after_checkpoint(algorithm.collect_rollouts),
            "train": self._train if self._delayed is None else self._delayed.delay,
        }
        vars(algorithm).update(wrapped)
        try:
            with postpone_signals(when=self._run.saves_inside_phases):
                with suppress(StepsSpentError):
                    callback = ProgressCallback(self._run, self._phase)
                    algorithm.learn(total, callback=callback, reset_num_timesteps=not is_resumed)
                if self._delayed is not None:
                    self._delayed.run()
        finally:
            for name in wrapped:
                del vars(algorithm)[name]

    def close(self) -> None:
        """Log the last losses, and take the phase's environments and logger from the algorithm."""
        self._algorithm.logger.dump(self._phase.budget.spent)
        self._algorithm.set_logger(Logger(folder=None, output_formats=[]))
        self._algorithm.env = self._algorithm._last_obs = None
        self._run.reporter.step(self._phase.budget.spent)

    def _counted(self, train: Callable[..., None]) -> Callable[..., None]:
        """Wrap the library's update so that its FLOPs are counted."""
        flops = self._agent.flops

        def counted(*args: object, **options: object) -> None:
            flops.start()
            try:
                train(*args, **options)
            finally:
                flops.stop()

        return counted

    def _after_checkpoint(self, collect: Callable[..., object]) -> Callable[..., object]:
        """Wrap the library's rollout so that a checkpoint can be saved before it, the only place between two steps."""
        algorithm = self._algorithm

        def collect_after_checkpoint(*args: object, **options: object) -> object:
            if self._resumed_random is not None:
                set_random_state(self._resumed_random)
                load_noise_state(algorithm.action_noise, self._resumed_noise)
                self._resumed_random = None
            stops = self._vote.passed()
            if self._run.saves_inside_phases and (stops or self._phase.budget.spent >= self._next_save):
                self._save()
            if stops:
                stop()
            self._agent.before_rollout(self._phase)
            return collect(*args, **options)

        return collect_after_checkpoint

    # Checkpoints inside the phase.

    def _step_of_next_save(self) -> int:
        """Return the step of the next checkpoint, the same for all workers, who save together.

        A large memory takes long to write, so its checkpoints are further apart than `--checkpoint_every` says.
        """
        newest = sum(observations.nbytes for observations in self._agent.newest)
        most: int = max(gather_objects(self._agent.costs()["buffer_bytes"] + newest))
        return self._phase.budget.spent + max(self._run.checkpoint_every, most // BYTES_PER_STEP)

    def _save(self) -> None:
        self._next_save = self._step_of_next_save()
        phase = self._phase_state()
        if phase is None:
            return
        # Logs come first: a resumed run drops the rows after the checkpoint, but cannot make up for missing ones.
        self._run.save_logs()
        own = {
            "method": self._agent.state_dict(),
            "phase": phase,
            "position": self._position(),
            "random": random_state(),
            "seconds": self._run.phase_seconds(),
        }
        states = gather_objects(own)
        path = self._run.checkpoint_path(self._phase.index)
        if not self._run.writes or path is None:
            return
        write_checkpoint({"workers": states, STAMP: self._run.stamp(self._phase.index)}, path)

    def _phase_state(self) -> State | None:
        """Return the state of the phase, or None, without further tries, if an environment of any worker has none."""
        own, why = None, None
        try:
            own = self._phase.state_dict()
        except RedwoodError as error:
            why = str(error)
        reasons = [reason for reason in gather_objects(why) if reason is not None]
        if not reasons:
            return own
        self._run.reporter.note(reasons[0])
        self._run.checkpoint_every = 0
        return None

    def resume(self) -> None:
        """Load the checkpoint inside the phase, if the run is resumed and there is one.

        Raises:
            RedwoodError: If the checkpoint does not fit the agent or the environments.
        """
        path = self._run.checkpoint_to_resume(self._phase.index)
        if path is None:
            return
        content = read_checkpoint(path, RESTART_PHASE)
        try:
            self._load(content["workers"][rank()], str(path))
        except self.FOREIGN as error:
            raise RedwoodError(
                f"The checkpoint {path} does not fit this run ({type(error).__name__}: {reason_of(error)}); "
                f"{RESTART_PHASE}."
            ) from error

    def _load(self, state: State, source: str) -> None:
        check_alike(state["method"], self._agent.state_dict(), source)
        self._agent.load_state_dict(state["method"])
        self._phase.load_state_dict(state["phase"])
        self._load_position(state["position"])
        self._run.earlier_s = float(state["seconds"])
        self._next_save = self._step_of_next_save()
        with preserved_random_state():
            set_random_state(state["random"])  # raises if the state is damaged
        # Set again when the next rollout begins, because the library may draw before it.
        self._resumed_random, self._is_resumed = state["random"], True

    def _position(self) -> State:
        """Return where the library's loop is between two rollouts, beside the counters of the algorithm."""
        algorithm, newest = self._algorithm, self._agent.newest
        observation, starts = algorithm._last_obs, algorithm._last_episode_starts
        assert isinstance(observation, np.ndarray) and starts is not None
        return {
            # With its layout: the library moves channels of images without copying, and convolutions round by it.
            "observation": torch.from_numpy(np.copy(observation, order="K")),
            "episode_starts": torch.from_numpy(starts),
            "action_choice": algorithm.action_space.np_random.bit_generator.state,
            "action_noise": noise_state(algorithm.action_noise),
            "delayed_gradient_steps": 0 if self._delayed is None else self._delayed.gradient_steps,
            "to_log": {name: float(value) for name, value in algorithm.logger.name_to_value.items()},
            "newest": torch.from_numpy(np.stack(newest)) if newest else None,
        }

    def _load_position(self, state: State) -> None:
        """Continue from an earlier position.

        Raises:
            ValueError: If the position belongs to other environments.
        """
        algorithm, agent = self._algorithm, self._agent
        observation: Array = state["observation"].numpy()
        starts: Array = state["episode_starts"].numpy()
        self._check_observations(observation, algorithm.observation_space)
        if starts.shape != (agent.n_envs,) or starts.dtype != bool:
            raise ValueError("its starts of episodes are those of other environments")
        agent.newest.clear()
        if state["newest"] is not None:
            newest: Array = state["newest"].numpy()
            for observations in newest:
                self._check_observations(observations, self._environments.observation_space)
            agent.newest.extend(newest)
        self._resumed_noise = list(state["action_noise"])
        if self._delayed is not None:
            self._delayed.gradient_steps = int(state["delayed_gradient_steps"])
        algorithm._last_obs, algorithm._last_episode_starts = observation, starts
        algorithm.action_space.np_random.bit_generator.state = state["action_choice"]
        for name, value in state["to_log"].items():
            algorithm.logger.record(str(name), float(value))

    def _check_observations(self, observations: Array, space: Space) -> None:
        if observations.shape != (self._agent.n_envs, *(space.shape or ())) or observations.dtype != space.dtype:
            raise ValueError("its observations are those of other environments")


@contextmanager
def raise_on_divergence(parameters: Mapping[str, Tensor], phase: ReinforcementPhase) -> Iterator[None]:
    """Train in the body, and raise if a parameter is of no use at the end, or when the body fails.

    Such a parameter may be used before a loss is reported: distributions refuse it, and environments its actions.
    Adam's steps are as long as the learning rate, so that parameters may get far too large and stay finite. No loss
    tells that: how large those of an agent are depends on the rewards.

    Raises:
        RedwoodError: If training diverged.
    """

    def check(cause: Exception | None = None) -> None:
        for name, parameter in parameters.items():
            largest = float(parameter.detach().abs().max()) if parameter.numel() else 0.0
            if not largest <= LARGEST_WEIGHT:
                what = f"has grown to {largest:.2g}" if math.isfinite(largest) else "is not finite"
                raise RedwoodError(
                    f"Training diverged: {name} {what} after {phase.budget.spent} steps; use a smaller --learning_rate."
                ) from cause

    try:
        yield
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InvalidActionError) or not isinstance(error, RedwoodError):
            check(error)
        raise
    check()

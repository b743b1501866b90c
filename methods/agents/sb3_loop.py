"""The training of an agent in one phase: the library's loop, watched, and checkpoints inside it."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.logger import Logger

from redwood.core.errors import RedwoodError, reason_of
from redwood.core.schema import check_alike
from redwood.core.seeding import preserved_random_state, random_state, set_random_state
from redwood.core.workers import gather_objects, rank
from redwood.methods.agents.sb3_callbacks import Progress, run_logger
from redwood.methods.agents.state import load_position, position_state
from redwood.methods.agents.vec_env import PhaseVecEnv, StepsSpentError
from redwood.runs.checkpoints import read_checkpoint, write_checkpoint
from redwood.runs.fingerprint import STAMP
from redwood.runs.run import FROM_ITS_START, INSIDE
from redwood.runs.signals import StopVote, postponed, stop
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.plain_state import NotPlainError

if TYPE_CHECKING:
    from redwood.methods.agents.agent import Agent


# What is written in checkpoints for each step that is taken: about a hundredth of the time that steps take.
BYTES_PER_STEP = 4096


class Session:
    """Trains an agent on the environments of one phase.

    Attributes:
        FOREIGN: What loading a state raises that is not one of this agent and these environments.
    """

    FOREIGN = (AttributeError, IndexError, KeyError, NotPlainError, OverflowError, RuntimeError, TypeError, ValueError)

    def __init__(self, agent: "Agent", phase: ReinforcementPhase) -> None:
        """Give the algorithm the environments."""
        self._agent, self._phase, self._run = agent, phase, agent.run
        self._algorithm = agent.algorithm
        self._environments = PhaseVecEnv(phase, agent.n_envs, agent.newest, agent.input)
        self._environments.clips = self._algorithm.policy.squash_output
        self._algorithm.set_env(self._environments)
        self._algorithm.set_logger(run_logger(agent.run, phase))
        self._next_save = self._after_interval()
        self._random: dict[str, Any] | None = None
        self._goes_on = False
        self._vote = StopVote(every=1)  # each rollout of some agents takes thousands of steps

    @property
    def _saves(self) -> bool:
        return self._run.directory is not None and self._run.checkpoint_every > 0

    def resume(self) -> None:
        """Go on inside the phase, if the run is one that is resumed there."""
        path = self._run.checkpoint_path(self._phase.index)
        if not self._run.resume or path is None or not path.exists():
            return
        content = read_checkpoint(path, FROM_ITS_START)
        try:
            self._go_on(content["workers"][rank()], str(path))
        except self.FOREIGN as error:
            raise RedwoodError(
                f"The checkpoint {path} does not fit this run ({type(error).__name__}: {reason_of(error)}); "
                f"{FROM_ITS_START}."
            ) from error

    def _go_on(self, state: dict[str, Any], source: str) -> None:
        check_alike(state["method"], self._agent.state_dict(), source)
        self._agent.load_state_dict(state["method"])
        self._phase.load_state_dict(state["phase"])
        load_position(self._algorithm, state["position"])
        self._run.earlier_s = float(state["seconds"])
        self._next_save = self._after_interval()
        with preserved_random_state():
            set_random_state(state["random"])
        # Set only when the next rollout begins, since getting there may draw.
        self._random, self._goes_on = state["random"], True

    def learn(self, steps: int) -> None:
        """Run the library's loop for `steps` steps; from where a checkpoint left it if there was one."""
        algorithm, goes_on = self._algorithm, self._goes_on
        self._goes_on = False
        self._environments.stop_at = self._phase.budget.spent + steps
        # The library adds what is done to the steps of a loop that goes on.
        total = algorithm._total_timesteps - algorithm.num_timesteps if goes_on else steps
        progress = Progress(self._run, self._phase)
        watched = {
            "collect_rollouts": self._after_checkpoint(algorithm.collect_rollouts),
            "train": self._counted(algorithm.train),
        }
        vars(algorithm).update(watched)
        try:
            with postponed(ready=self._saves), suppress(StepsSpentError):
                algorithm.learn(total, callback=progress, reset_num_timesteps=not goes_on)
        finally:
            for name in watched:
                del vars(algorithm)[name]

    def close(self) -> None:
        """Log what is left, and take away what belongs to the phase."""
        self._algorithm.logger.dump(self._phase.budget.spent)
        self._algorithm.set_logger(Logger(folder=None, output_formats=[]))
        self._algorithm.env = self._algorithm._last_obs = None
        self._run.reporter.step(self._phase.budget.spent)

    def _counted(self, train: Callable[..., None]) -> Callable[..., None]:
        flops = self._agent.flops

        def counted(*args: Any, **kwargs: Any) -> None:
            flops.start()
            try:
                train(*args, **kwargs)
            finally:
                flops.stop()

        return counted

    def _after_checkpoint(self, collect: Callable[..., Any]) -> Callable[..., Any]:
        """A rollout, before which all is between two steps of the loop, as it is nowhere else."""

        def collect_after_checkpoint(*args: Any, **kwargs: Any) -> Any:
            if self._random is not None:
                set_random_state(self._random)
                self._random = None
            stops = self._vote.passed()
            if self._saves and (stops or self._phase.budget.spent >= self._next_save):
                self._save()
            if stops:
                stop()
            self._agent.before_rollout(self._phase)
            return collect(*args, **kwargs)

        return collect_after_checkpoint

    def _after_interval(self) -> int:
        """The step of the next checkpoint: later than asked for where a large memory takes long to be written.

        It is the same for all workers, who save together, whatever the share of the memory that each has.
        """
        newest = sum(observations.nbytes for observations in self._agent.newest)
        most: int = max(gather_objects(self._agent.memory_bytes() + newest))
        return self._phase.budget.spent + max(self._run.checkpoint_every, most // BYTES_PER_STEP)

    def _phase_state(self) -> dict[str, Any] | None:
        """The state of the phase; None if an environment of any worker cannot be saved, which ends checkpoints."""
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

    def _save(self) -> None:
        self._next_save = self._after_interval()
        phase = self._phase_state()
        if phase is None:
            return
        # The logs first: whoever resumes drops the rows after the checkpoint, but cannot make up for missing ones.
        self._run.save_logs()
        own = {
            "method": self._agent.inside_state(),
            "phase": phase,
            "position": position_state(self._algorithm),
            "random": random_state(),
            "seconds": self._run.phase_seconds(),
        }
        states = gather_objects(own)
        path = self._run.checkpoint_path(self._phase.index)
        if not self._run.writes or path is None:
            return
        write_checkpoint({"workers": states, STAMP: self._run.stamp(INSIDE, self._phase.index)}, path)

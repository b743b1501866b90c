"""Agents that explore a new task with the best of their old policies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.methods.agents.off_policy import OffPolicyAgent, joined_reference
from redwood.methods.agents.on_policy import OnPolicyAgent
from redwood.methods.agents.task_input import OneHotTask
from redwood.methods.base import Composition
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import ContinualRLSetting, TaskIncrementalRLSetting
from redwood.settings.rl.types import Array, Info


@dataclass
class AgentBestReturn(OffPolicyAgent):
    """Let old policies act in the first steps of a task: each for one episode, and then the best of them.

    It is best-return exploration (M. Wolczyk et al., Disentangling Transfer in Continual Reinforcement Learning,
    NeurIPS 2022, section 5.2); with `cloning` it is ClonEx. The policy of an old task is the present network, which is
    told that it is in the old task. The best one has the highest mean return of its episodes in the new task. DQN's
    old policies act at random in a share `exploration_final_eps` of the steps. They replace the random actions before
    `learning_starts`, as in ClonEx: afterwards the present policy acts.

    Attributes:
        old_tasks: The tasks of earlier phases.
        acting: The old task whose policy acts in each copy of the environment; empty when none acts.
        running: The return of each copy's present episode.
        episode_returns: For each old task, the returns of its policy's episodes in the new task.
    """

    target = TaskIncrementalRLSetting
    without_second_phase: ClassVar[str] = "No old policy explored"
    composition: ClassVar[Composition] = Composition.ANYWHERE

    explore_steps: int = 1000  # steps of a task in which old policies act instead of random actions (0: none)

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse to be joined to an agent that can only learn from its own actions."""
        super().__init_subclass__(**options)
        if issubclass(cls, OnPolicyAgent):
            raise InvalidOptionError(
                f"The method {joined_reference(cls)} cannot be made: an on-policy agent learns from its own actions "
                "alone; choose dqn, sac or td3."
            )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "explore_steps", 0)

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        """Build the agent.

        Raises:
            InvalidOptionError: If the networks are not told the task, so that there is one policy for all tasks.
        """
        super().configure(setting)
        if not isinstance(self.input, OneHotTask):
            raise InvalidOptionError(
                f"{self.reference()} has no policy for each task, since its networks are not told the task; "
                "use --task_input one_hot or heads, or leave best_return out."
            )
        self.old_tasks = self.add_state("old_tasks", list[int]())
        self.acting = self.add_state("acting", list[int]())
        self.running = self.add_state("running", list[float]())
        self.episode_returns = self.add_state("episode_returns", dict[int, list[float]]())

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        self.acting, self.running = [], [0.0] * self.n_envs
        self.episode_returns = {task: [] for task in self.old_tasks}
        super().fit(phase)
        if phase.task_id is not None and phase.task_id not in self.old_tasks:
            self.old_tasks.append(phase.task_id)

    @override
    def learn(self, phase: ReinforcementPhase, steps: int) -> None:
        """Train as the agent does, with the actions of old policies in the first steps."""
        algorithm, budget = self.algorithm, phase.budget
        sample, store = algorithm._sample_action, algorithm._store_transition

        explores = bool(self.old_tasks) and self.explore_steps > 0

        def sample_action(learning_starts: int, *args: Any) -> Any:
            if explores and budget.spent < self.explore_steps:
                return self._old_action(sample, *args)
            if self.acting:
                self._warn_of_untried()
                self.acting.clear()
            return sample(0 if explores else learning_starts, *args)

        def store_transition(
            memory: Any, actions: Array, new_obs: Array, rewards: Array, dones: Array, infos: list[Info]
        ) -> None:
            self._note(rewards, dones)
            store(memory, actions, new_obs, rewards, dones, infos)

        wrapped = {"_sample_action": sample_action, "_store_transition": store_transition}
        vars(algorithm).update(wrapped)
        try:
            super().learn(phase, steps)
        finally:
            for name in wrapped:
                del vars(algorithm)[name]

    def _warn_of_untried(self) -> None:
        """Warn if the exploration is over before each old policy has finished an episode."""
        untried = sum(not returns for returns in self.episode_returns.values())
        if untried and rank() == 0:
            warn(
                f"--explore_steps {self.explore_steps} ended before {untried} of {len(self.old_tasks)} old policies "
                "had finished an episode, so the best was chosen among the others; use a larger --explore_steps."
            )

    def _old_action(self, sample: Any, *args: Any) -> Any:
        """Sample actions as the library does, of the policies of the old tasks that act."""
        if not self.acting:
            for _ in range(self.n_envs):
                self.acting.append(self.best_policy())
        assert isinstance(self.input, OneHotTask)
        algorithm = self.algorithm
        present = {"_last_obs": algorithm._last_obs}
        old = {"_last_obs": self.input.recode(algorithm._last_obs, self.acting)}
        if hasattr(algorithm, "exploration_rate"):
            present["exploration_rate"] = algorithm.exploration_rate
            old["exploration_rate"] = algorithm.exploration_final_eps
        vars(algorithm).update(old)
        try:
            return sample(0, *args)
        finally:
            vars(algorithm).update(present)

    def _note(self, rewards: Sequence[float] | Array, dones: Sequence[bool] | Array) -> None:
        """Add up returns, and choose a policy for the next episode of each copy whose episode is over."""
        for number in range(len(self.acting)):
            self.running[number] += float(rewards[number])
            if dones[number]:
                self.episode_returns[self.acting[number]].append(self.running[number])
                self.running[number] = 0.0
                self.acting[number] = self.best_policy()

    def best_policy(self) -> int:
        """Return the old task whose policy acts next: one that has not acted yet, or the best."""
        new = [task for task in self.old_tasks if not self.episode_returns[task] and task not in self.acting]
        if new:
            return new[0]
        means = {task: sum(found) / len(found) for task, found in self.episode_returns.items() if found}
        return max(means, key=lambda task: means[task]) if means else self.old_tasks[0]

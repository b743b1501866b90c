"""One phase of a reinforcement run: `Method.fit` gets it."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

from redwood.core.state import State
from redwood.settings.rl.budget import Budget, OnlineReturn, PhaseOverError, ShownReturn, Steps
from redwood.settings.rl.environment import HiddenEnvironment, TaskEnvironment
from redwood.settings.rl.evaluation import Predict
from redwood.settings.rl.periodic_evaluation import PeriodicEvaluation
from redwood.settings.rl.plain_state import NotPlainError
from redwood.settings.rl.processes import EnvironmentProcesses, RemoteEnvironment
from redwood.settings.rl.types import Env

PhaseEnvironment: TypeAlias = TaskEnvironment | HiddenEnvironment | RemoteEnvironment
MakeEnvironment = Callable[..., TaskEnvironment | HiddenEnvironment]


class ReinforcementPhase:
    """The environments of one call of `Method.fit`, and the steps that they may take.

    Attributes:
        index: Number of the phase, from 0.
        task_id: The task that the phase trains, or None where it is hidden or the phase holds several.
        validation: None; there is nothing to hold out from an environment.
    """

    validation = None

    def __init__(
        self,
        index: int,
        task_id: int | None,
        steps: int,
        make: MakeEnvironment,
        periodic: PeriodicEvaluation | None = None,
    ) -> None:
        """Start a phase.

        Args:
            index: Number of the phase.
            task_id: The task, or None.
            steps: Environment steps of this worker.
            make: Makes the copy of the environment that has a number, from 0, with `Steps` and `OnlineReturn`. With
                `each_task`, all its episodes are of one task.
            periodic: Evaluates the method inside the phase.
        """
        self.index, self.task_id = index, task_id
        self._steps, self._online = Steps(steps, periodic), OnlineReturn(steps)
        self._periodic = periodic
        self._make = make
        self._environments: list[PhaseEnvironment] = []
        self._closed = False

    @property
    def budget(self) -> Budget:
        """The steps of this worker; all environments of the phase share them."""
        return Budget(self._steps)

    @property
    def online(self) -> ShownReturn:
        """Returns of the training episodes."""
        return ShownReturn(self._online)

    @property
    def steps(self) -> int:
        """Environment steps of this worker."""
        return self._steps.total

    @property
    def samples_served(self) -> int:
        """Steps taken so far by this worker."""
        return self._steps.spent

    @property
    def inputs_digest(self) -> None:
        """None: the agent's own actions decide what it observes."""
        return None

    @property
    def train(self) -> Env:
        """The environment, for methods that need one copy."""
        return self.environments(1)[0]

    def environments(self, n: int, processes: int = 0, *, each_task: bool = False) -> list[PhaseEnvironment]:
        """Return `n` copies of the environment, the same ones for each call; each step of each copy counts.

        Args:
            n: Number of copies.
            processes: Number of processes that hold the copies, at most `n`; 0 for this process. Copies of other
                processes are `RemoteEnvironment`s, whose `send` starts their steps side by side.
            each_task: In a phase with all tasks, whether copy k has task k modulo their number in all its episodes. By
                default, each episode is of a task drawn at random.

        Raises:
            PhaseOverError: If the phase is over.
            ValueError: If another number of copies is in use already.
        """
        if self._closed:
            raise PhaseOverError
        make: MakeEnvironment = partial(self._make, each_task=each_task)
        if not self._environments and processes:
            remote = EnvironmentProcesses(make, n, processes, self._steps, self._online)
            self._environments = [RemoteEnvironment(remote, number) for number in range(n)]
        elif not self._environments:
            self._environments = [make(number, self._steps, self._online) for number in range(n)]
        if len(self._environments) != n:
            raise ValueError(f"The phase has {len(self._environments)} environments already; ask for as many.")
        return self._environments

    def play(self, act: Predict) -> None:
        """Interact until the budget is spent.

        Args:
            act: Maps observations (1, ...) and task ids (1,), None where they are hidden, to actions (1, ...), as
                `Method.predict` does.
        """
        env = self.train
        observation, info = env.reset()
        while self.budget.left:
            observation, _, terminated, truncated, info = env.step(one_action(act, observation, info["task_id"]))
            if (terminated or truncated) and self.budget.left:
                observation, info = env.reset()

    def close(self) -> None:
        """End the phase: neither its environments nor new ones can be used, whatever is left of the budget."""
        self._closed = True
        for environment in self._environments:
            environment.close()

    def state_dict(self) -> State:
        """Return steps, returns and episodes, for a checkpoint inside the phase."""
        return {
            "spent": self._steps.spent,
            "online": self._online.state_dict(),
            "periodic": None if self._periodic is None else self._periodic.state_dict(),
            "environments": [environment.state_dict() for environment in self._environments],
        }

    def load_state_dict(self, state: State) -> None:
        """Continue inside the phase, with as many environments as there were.

        Raises:
            NotPlainError: If the phase has begun, since loading would give steps back, or is another phase.
        """
        spent = int(state["spent"])
        if self._closed or self._steps.spent or not 0 <= spent <= self._steps.total:
            raise NotPlainError(f"the phase has begun, or has other steps than the {spent} that were taken")
        self._online.load_state_dict(state["online"])
        if self._periodic is not None:
            self._periodic.load_state_dict(state["periodic"])
        self._steps.go_on(spent)
        copies = self._environments or self.environments(len(state["environments"]))
        if len(copies) != len(state["environments"]):
            raise NotPlainError(f"the phase has {len(copies)} environments, not {len(state['environments'])}")
        for environment, saved in zip(copies, state["environments"], strict=True):
            environment.load_state_dict(saved)


def one_action(act: Predict, observation: object, task_id: int | None) -> object:
    """Return the action for one observation."""
    x = torch.as_tensor(np.asarray(observation))[None]
    action = act(x, None if task_id is None else torch.tensor([task_id]))[0].detach().cpu().numpy()
    choice: object = action[()]  # a choice as a number: some environments look it up in a table
    return choice

"""Agents that hold on to the policies of earlier tasks on stored observations: behavioural cloning and A-GEM."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.state import State
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.agents.actor import Actor, Outputs
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.methods.replay.agem import project
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting

UNKNOWN = -1  # stands for the task where training gives no task ids


def divergence(old: Tensor, new: Tensor, kind: Outputs) -> Tensor:
    """Return KL(old || new) (B,) of the policies behind outputs (B, K); values count as means of Gaussians, sigma 1."""
    if kind is Outputs.LOGITS:
        old, new = old.log_softmax(-1), new.log_softmax(-1)
        return (old.exp() * (old - new)).sum(-1)
    if kind is Outputs.VALUES:
        return (old - new).square().sum(-1) / 2
    (old_mean, old_log), (new_mean, new_log) = old.chunk(2, -1), new.chunk(2, -1)
    moved = (2 * old_log).exp() + (old_mean - new_mean).square()
    return (new_log - old_log + moved / (2 * (2 * new_log).exp()) - 0.5).sum(-1)


@dataclass
class StoredPolicies(Agent):
    """Store observations of each task, and the agent's outputs for them at the end of the task.

    The observations are a random part of the task's last steps. Each worker stores its own. If a task comes back, its
    old policy is left out during its training; at its end, the new policy replaces the old one.

    Attributes:
        stored_observations: (N, ...) of `observation_space`, equally many of each task that has enough steps.
        stored_outputs: (N, K), those of the policy at the end of the task.
        stored_tasks: (N,), their tasks; `UNKNOWN` where training gives no task ids.
        in_training: The task that is trained; None between phases, and where training gives no task ids.
    """

    target = IncrementalRLSetting
    reads_recent: ClassVar[bool] = True
    without_second_phase: ClassVar[str] = "No old policy was preserved"

    states_per_task: int = 1000  # observations of each task, by each worker; at most the last 2048 of each environment
    memory_batch_size: int = 128  # stored observations per update

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "states_per_task", 1)
        check_range(self, "memory_batch_size", 1)

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        super().configure(setting)
        self.warn_if_beyond_recent("states_per_task")
        self._actor = Actor(self)
        self._deciding = set(self._actor.weights().values())
        empty = self.recent_observations(0)
        self.stored_observations: Tensor = self.add_state("stored_observations", empty, buffer=True)
        self.stored_outputs: Tensor = self.add_state("stored_outputs", torch.zeros(0, 0), buffer=True)
        self.stored_tasks: Tensor = self.add_state("stored_tasks", torch.zeros(0, dtype=torch.int64), buffer=True)
        self.in_training: int | None = None

    @override
    def load_state_dict(self, state: State) -> None:
        """Continue from an earlier state.

        Raises:
            ValueError: If it holds observations of other environments.
        """
        observations, outputs = state["stored_observations"], state["stored_outputs"]
        lengths = {len(observations), len(outputs), len(state["stored_tasks"])}
        if observations.shape[1:] != self.stored_observations.shape[1:] or len(lengths) > 1:
            raise ValueError("its stored observations are those of other environments")
        super().load_state_dict(state)

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        self.in_training = phase.task_id
        super().fit(phase)
        self.in_training = None

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        observations = self.recent_observations(self.states_per_task)
        if not len(observations):
            return
        with torch.no_grad(), self.flops.count():
            outputs = self._actor(observations).cpu()
        others = self._rows_of_others(task_id)
        earlier = self.stored_outputs[others] if len(others) else outputs[:0]  # its width is known only now
        self.stored_outputs = torch.cat([earlier, outputs])
        self.stored_observations = torch.cat([self.stored_observations[others], observations])
        tasks = torch.full((len(observations),), UNKNOWN if task_id is None else task_id)
        self.stored_tasks = torch.cat([self.stored_tasks[others], tasks])

    def _rows_of_others(self, task_id: int | None) -> Tensor:
        """Return the numbers of the rows of all tasks but one; of all tasks if it is None."""
        if task_id is None:
            return torch.arange(len(self.stored_tasks))
        return (self.stored_tasks != task_id).nonzero()[:, 0]

    def memory_gradient(self, parameters: list[nn.Parameter]) -> list[Tensor] | None:
        """Return the gradient of the mean divergence from the stored policies, on a random batch of observations.

        Args:
            parameters: What to differentiate by.

        Returns:
            One tensor for each parameter; None if no other task is stored, and where no parameter decides actions.
        """
        others = self._rows_of_others(self.in_training)
        if not len(others) or self._deciding.isdisjoint(parameters):
            return None
        rows = others[torch.randint(len(others), (self.memory_batch_size,))]
        now = self._actor(self.stored_observations[rows])
        then = self.stored_outputs[rows].to(now.device)
        loss = divergence(then, now, self._actor.kind(now.shape[1])).mean()
        return list(torch.autograd.grad(loss, parameters, materialize_grads=True))


def trained_by(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return the optimizer's parameters that have a gradient."""
    parameters: Iterable[nn.Parameter] = (p for group in optimizer.param_groups for p in group["params"])
    return [p for p in parameters if p.grad is not None]


@dataclass
class AgentCloning(StoredPolicies):
    """Add a loss to each update of the policy: its divergence from the old policies on their stored observations.

    The loss is cloning_coef * mean KL(old || new), on a batch drawn uniformly from all other tasks (M. Wolczyk et
    al., Disentangling Transfer in Continual Reinforcement Learning, NeurIPS 2022, section 5.2: behavioural cloning, and
    ClonEx with `best_return`). Q-values count as means of Gaussians with sigma = 1. Critics are not cloned. The
    gradient is added after clipping, and is not clipped itself.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    cloning_coef: float = 1.0  # weight of the divergence from the old policies

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "cloning_coef", 0)

    @override
    def before_step(self, optimizer: Optimizer) -> None:
        parameters = trained_by(optimizer)
        gradients = self.memory_gradient(parameters)
        if gradients is not None:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                assert parameter.grad is not None
                parameter.grad.add_(gradient, alpha=self.cloning_coef)
        super().before_step(optimizer)


@dataclass
class AgentAGEM(StoredPolicies):
    """Never follow a gradient that raises the divergence from the old policies on their stored observations.

    Such a gradient is projected (Chaudhry et al., 2019, equation 11). Continual World takes the gradient of the agent's
    own loss on stored transitions as the reference. Here it is that of KL(old || new), since on-policy agents have no
    loss on old transitions. It projects the gradient of all that decides the actions; critics train freely.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    @override
    def before_step(self, optimizer: Optimizer) -> None:
        super().before_step(optimizer)
        parameters = [p for p in trained_by(optimizer) if p in self._deciding]
        gradients = self.memory_gradient(parameters)
        if gradients is None:
            return
        reference = torch.cat([gradient.flatten() for gradient in gradients])
        if world_size() > 1:
            reference = sum_over_workers(reference.cpu()).to(reference.device) / world_size()
        projected = project(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), reference)
        for parameter, part in zip(parameters, projected.split([p.numel() for p in parameters]), strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(part.view_as(parameter))

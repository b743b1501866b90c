"""Agents that pull weights back to their values at the end of earlier tasks: EWC and L2."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.agents.actor import Actor, fisher_information
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.methods.regularisation.quadratic_penalty import QuadraticPenalty, Weights
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting


@dataclass
class WeightPenalty(QuadraticPenalty, Agent):
    """Add a quadratic penalty of each weight of the actor to the loss: its gradient is added before each step.

    Critics and value functions have no penalty, as in Continual World. The gradient is added after clipping, and is not
    clipped itself: the steps of the library's optimizers, Adam and RMSprop, do not grow with the gradient.
    """

    target = IncrementalRLSetting

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        self.start_penalty()
        self._names: dict[nn.Parameter, str] = {}  # of the weights that have a penalty
        super().configure(setting)

    @abstractmethod
    def importance(self) -> Weights:
        """Return how much the last task depends on each weight, at least 0; the same on all workers."""

    @abstractmethod
    def consolidate(self, importance: Weights) -> None:
        """Change the penalty by the importance of the weights for the last task."""

    @override
    def trained_weights(self) -> Iterable[tuple[str, nn.Parameter]]:
        return Actor(self).weights().items()

    @override
    @torch.no_grad()
    def before_step(self, optimizer: Optimizer) -> None:
        """Add strength * c_i (w_i - m_i) to the gradient of each weight, of curvature c_i and minimum m_i."""
        super().before_step(optimizer)
        if not self.curvature:
            return
        if not self._names:
            self._names = {p: name for name, p in Actor(self).named_parameters() if name in self.curvature}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = self._names.get(parameter)
                if name is not None and parameter.grad is not None:
                    away = parameter - self.minimum[name]
                    parameter.grad.addcmul_(self.curvature[name], away, value=self.strength)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        with self.flops.count():
            importance = self.importance()
        self.consolidate(importance)


@dataclass
class AgentL2(WeightPenalty):
    """Pull all weights equally to their values after the last task: lambda/2 * sum_i (w_i - w*_i)^2."""

    composition: ClassVar[Composition] = Composition.ANYWHERE

    l2_lambda: float = 0.1  # strength of the penalty

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "l2_lambda", 0)

    @property
    @override
    def strength(self) -> float:
        return self.l2_lambda

    @override
    def importance(self) -> Weights:
        return {name: torch.ones_like(parameter) for name, parameter in self.trained_weights()}

    @override
    def consolidate(self, importance: Weights) -> None:
        self.move_penalty(importance, decay=0.0)


@dataclass
class AgentEWC(WeightPenalty):
    """Pull each weight to its values after earlier tasks, in proportion to how much the actions depend on it.

    The penalty is lambda/2 * sum over tasks k and weights i of F_ki (w_i - w*_ki)^2 (Kirkpatrick et al., 2017,
    equation 3). F is the Fisher information of the policy on the last observations of each task. Q-values count as the
    means of Gaussians (see `redwood.methods.agents.actor`).
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    ewc_lambda: float = 100.0  # strength of the penalty
    fisher_samples: int = 1000  # observations of each task that the Fisher information is estimated on, by each worker

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "ewc_lambda", 0)
        check_range(self, "fisher_samples", 1)

    @property
    @override
    def strength(self) -> float:
        return self.ewc_lambda

    @override
    def importance(self) -> Weights:
        """Return the mean Fisher information over the workers, each of which has observations of its own."""
        found = fisher_information(self, self.recent_observations(self.fisher_samples))
        return {name: sum_over_workers(f.cpu()).to(self.device) / world_size() for name, f in found.items()}

    @override
    def consolidate(self, importance: Weights) -> None:
        self.add_penalty(importance)

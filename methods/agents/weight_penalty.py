"""What agents have in common that pull weights back to where earlier tasks left them."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from redwood.core.checks import check_range
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.agents.actor import Decision, fisher_information
from redwood.methods.agents.agent import Agent
from redwood.methods.base import Composition
from redwood.methods.regularisation.quadratic_penalty import QuadraticPenalty, Weights
from redwood.settings.base import Setting
from redwood.settings.rl.tree import IncrementalRLSetting


@dataclass
class WeightPenalty(QuadraticPenalty, Agent):
    """Add a quadratic penalty on each weight that decides the actions, by adding its gradient before each step.

    Critics and value functions are left free, as in Continual World. The gradient is added after clipping, and has no
    bound of its own: the library's optimizers, Adam and RMSprop, take no longer steps for larger gradients.
    """

    target = IncrementalRLSetting

    def configure(self, setting: Setting) -> None:
        """Build the agent; no weight matters yet."""
        self.start_penalty()
        super().configure(setting)

    @abstractmethod
    def importance(self) -> Weights:
        """How much the task that is over depends on each weight, at least 0; the same on all workers."""

    @abstractmethod
    def consolidate(self, importance: Weights) -> None:
        """Take in the importance of the weights to the task that is over."""

    def trained_weights(self) -> Iterable[tuple[str, nn.Parameter]]:
        """The parameters that decide the actions, and their names."""
        return Decision(self).weights().items()

    @torch.no_grad()
    def before_step(self, optimizer: Optimizer) -> None:
        """Add strength * c_i (w_i - m_i) to the gradient of each weight, of curvature c_i and minimum m_i."""
        super().before_step(optimizer)
        if not self.curvature:
            return
        names = self._names()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names.get(parameter)
                if name is not None and parameter.grad is not None:
                    away = parameter - self.minimum[name]
                    parameter.grad.addcmul_(self.curvature[name], away, value=self.strength)

    def _names(self) -> dict[nn.Parameter, str]:
        """The names of the parameters that are pulled at; looked up once for each algorithm."""
        if getattr(self, "_named", (None, {}))[0] is not self.algorithm:
            found = {p: name for name, p in Decision(self).named_parameters() if name in self.curvature}
            self._named = (self.algorithm, found)
        return self._named[1]

    def on_task_end(self, task_id: int | None) -> None:
        """Measure how important the weights were to the task that is over, and take it in."""
        super().on_task_end(task_id)
        with self.flops.count():
            importance = self.importance()
        self.consolidate(importance)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, once its penalty is known to fit the weights."""
        super().load_state_dict(state)
        shapes = {name: p.shape for name, p in self.trained_weights()}
        for part in (self.curvature, self.minimum):
            if any(value.shape != shapes.get(name) for name, value in part.items()):
                raise ValueError("its penalty is one of other weights")


@dataclass
class AgentL2(WeightPenalty):
    """Pull each weight back to where the last task left it, all equally hard: lambda/2 * sum_i (w_i - w*_i)^2."""

    composition: ClassVar[Composition] = Composition.ANYWHERE

    l2_lambda: float = 0.1  # strength of the penalty

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "l2_lambda", 0)

    @property
    def strength(self) -> float:
        """Lambda."""
        return self.l2_lambda

    def importance(self) -> Weights:
        """1 for each weight."""
        return {name: torch.ones_like(parameter) for name, parameter in self.trained_weights()}

    def consolidate(self, importance: Weights) -> None:
        """Move the penalty, whose curvature stays 1."""
        self.move_penalty(importance, decay=0.0)


@dataclass
class AgentEWC(WeightPenalty):
    """Pull each weight back to where earlier tasks left it, as hard as their actions depend on it.

    The penalty is lambda/2 * sum over tasks k and weights i of F_ki (w_i - w*_ki)^2 (Kirkpatrick et al., equation 3).
    The Fisher information F is that of the policy, or of Q-values taken for means of Gaussians (see
    `redwood.methods.agents.actor`), on the observations that came last in each task.
    """

    composition: ClassVar[Composition] = Composition.ANYWHERE

    ewc_lambda: float = 100.0  # strength of the penalty
    fisher_samples: int = 1000  # observations of each task that the Fisher information is estimated on, by each worker

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "ewc_lambda", 0)
        check_range(self, "fisher_samples", 1)

    @property
    def strength(self) -> float:
        """Lambda."""
        return self.ewc_lambda

    def importance(self) -> Weights:
        """The mean of what the workers find on their observations."""
        found = fisher_information(self, self.recent_observations(self.fisher_samples))
        return {name: sum_over_workers(f.cpu()).to(self.device) / world_size() for name, f in found.items()}

    def consolidate(self, importance: Weights) -> None:
        """Add the penalty of the task that is over."""
        self.add_penalty(importance)

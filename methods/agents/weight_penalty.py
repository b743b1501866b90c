"""What agents have in common that pull weights back to where earlier tasks left them."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from redwood.methods.agents.agent import Agent
from redwood.methods.agents.decision import Decision
from redwood.methods.regularisation.parabola import WeightParabola, Weights
from redwood.settings.base import Setting
from redwood.settings.rl.incremental import IncrementalRLSetting


@dataclass
class WeightPenalty(WeightParabola, Agent):
    """Add to the loss a parabola in each weight that decides the actions, by adding its gradient before each step.

    Critics and value functions are left free, as in Continual World. The gradient is added after clipping, and has no
    bound of its own: the library's optimizers, Adam and RMSprop, take no longer steps for larger gradients.
    """

    target = IncrementalRLSetting

    def configure(self, setting: Setting) -> None:
        """Build the agent; no weight matters yet."""
        self.flatten_parabola()
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

    def state_dict(self) -> dict[str, Any]:
        """The agent's state and the parabola."""
        return super().state_dict() | {"parabola": self.parabola_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier agent and parabola."""
        super().load_state_dict(state)
        self.load_parabola(state["parabola"], self.device)
        shapes = {name: p.shape for name, p in self.trained_weights()}
        for part in (self.curvature, self.minimum):
            if any(value.shape != shapes.get(name) for name, value in part.items()):
                raise ValueError("its parabola is one of other weights")

    def costs(self) -> dict[str, Any]:
        """The agent's costs; the parabola counts as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.parabola_bytes()}

"""Regularisation towards the last task's weights, all alike (Wolczyk et al., 2021, "Continual World", L2)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from redwood.methods.agents.weight_penalty import WeightPenalty
from redwood.methods.base import Composition
from redwood.methods.regularisation.parabola import Weights
from redwood.settings.checks import check_range


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
        """Move the only parabola, which gets no steeper."""
        self.move_parabola(importance, decay=0.0)

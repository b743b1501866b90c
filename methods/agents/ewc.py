"""Elastic weight consolidation of agents (Kirkpatrick et al., 2017; Wolczyk et al., 2021, "Continual World")."""

from dataclasses import dataclass
from typing import ClassVar

from redwood.methods.agents.fisher import fisher_information
from redwood.methods.agents.weight_penalty import WeightPenalty
from redwood.methods.base import Composition
from redwood.methods.regularisation.parabola import Weights
from redwood.settings.checks import check_range
from redwood.settings.workers import sum_over_workers, world_size


@dataclass
class AgentEWC(WeightPenalty):
    """Pull each weight back to where earlier tasks left it, as hard as their actions depend on it.

    The penalty is lambda/2 * sum over tasks k and weights i of F_ki (w_i - w*_ki)^2 (Kirkpatrick et al., equation 3).
    The Fisher information F is that of the policy, or of Q-values taken for means of Gaussians (see
    `redwood.methods.agents.fisher`), on the observations that came last in each task.
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
        """Add the parabola of the task that is over."""
        self.add_parabola(importance)

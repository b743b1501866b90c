"""What methods share that pull weights back to where earlier tasks left them."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from redwood.core.checks import check_choice
from redwood.methods.lightning import LightningMethod
from redwood.methods.regularisation.quadratic_penalty import QuadraticPenalty, Weights, mean_of
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.tree import ClassIncrementalSetting

SCALES = ("mean", "none")


@dataclass
class WeightImportance(QuadraticPenalty, LightningMethod):
    """Add a parabola in each weight to the loss, as steep as earlier tasks depend on the weight.

    A subclass measures the `importance` of each weight to the task that is over, and says in `strength` how much that
    counts.

    Attributes:
        unit: The penalty divides the curvature by this number. It is 1, unless a subclass scales importances.
    """

    target = ClassIncrementalSetting
    state_key: ClassVar[str] = "importance"  # under which the state holds what this method adds

    def configure(self, setting: Setting) -> None:
        """Build the network; no weight matters yet.

        Raises:
            InvalidOptionError: If two methods of this family are combined.
        """
        self.start_penalty()
        self.unit = 1.0
        super().configure(setting)

    @abstractmethod
    def importance(self) -> Weights:
        """How much the task that is over depends on each weight, at least 0; the same on all workers."""

    def trained_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are trained, and their names."""
        return ((name, p) for name, p in self.network.named_parameters() if p.requires_grad)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the batch and the penalty."""
        return super().loss(batch) + self.penalty()

    def effective_strength(self) -> Iterator[tuple[str, nn.Parameter, Tensor, Tensor]]:
        """Name of a parameter, the parameter, the pull on each of its weights, and where to: m_i.

        The pull is the curvature of the penalty, min(strength * curvature_i / unit, 1 / lr), with the learning rate of
        the phase. The bound is no part of the papers. A step of gradient descent on a parabola of curvature c takes the
        weight past its minimum if lr * c > 1, and further away than it was if lr * c > 2: important weights would blow
        up.
        """
        strength = self.strength / self.unit
        for name, parameter in self.network.named_parameters():
            if name in self.curvature:
                pull = (strength * self.curvature[name]).clamp(max=1 / self.phase_lr)
                yield name, parameter, pull, self.minimum[name]

    def penalty(self) -> Tensor:
        """1/2 * sum_i pull_i (w_i - m_i)^2, up to a constant that has no gradient; a scalar."""
        total = torch.zeros((), device=self.device)
        for _, parameter, pull, minimum in self.effective_strength():
            total = total + (pull * (parameter - minimum).square()).sum()
        return total / 2

    def on_task_end(self, task_id: int | None) -> None:
        """Measure how important the weights were to the task that is over, and take it in."""
        super().on_task_end(task_id)
        with self.flops.count():
            importance = self.importance()
        self.consolidate(self.scaled(importance))

    def scaled(self, importance: Weights) -> Weights:
        """The importance of each weight to one task, as it enters the penalty; by default as it was measured."""
        return importance

    def consolidate(self, importance: Weights) -> None:
        """Take in the importance of the weights to the task that is over; by default by `move_penalty`."""
        self.move_penalty(importance)

    def never_acted(self) -> str | None:
        """The penalty needs a task that is over."""
        if self.phase_count < 2:
            return "The penalty on weights never acted: it begins with the second phase, and this run has only one."
        return super().never_acted()

    def state_dict(self) -> dict[str, Any]:
        """The network's state and the parabola."""
        return super().state_dict() | {self.state_key: self.parabola_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and parabola."""
        super().load_state_dict(state)
        self.load_parabola(state[self.state_key], self.device)

    def on_device(self, weights: Weights) -> Weights:
        """Tensors of a state, where the network is."""
        return {name: value.to(self.device) for name, value in weights.items()}

    def costs(self) -> dict[str, Any]:
        """The costs of training; the parabola counts as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.parabola_bytes()}


@dataclass
class ScaledImportance(WeightImportance):
    """Measure importances in multiples of their mean, so that one strength serves many streams.

    The size of an importance depends on the data, on the network and on how well the task was learned. A network that
    is sure of its predictions has a tiny Fisher information. The papers tune the strength for each stream instead.
    Schwarz et al. (2018) normalise the Fisher information of each task, too, so that all tasks count alike.

    The penalty divides the sum over tasks by its mean. So it does not grow with the number of tasks.
    """

    # mean: divide a task's importances by their mean over all weights, and average them over tasks; none: as the paper
    importance_scale: str = "mean"

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_choice(self, "importance_scale", SCALES)

    def on_task_end(self, task_id: int | None) -> None:
        """Take in the importances of the task that is over, and find their new mean."""
        super().on_task_end(task_id)
        self._find_unit()

    def _find_unit(self) -> None:
        if self.importance_scale == "mean" and self.curvature:
            self.unit = mean_of(self.curvature) or 1.0

    def scaled(self, importance: Weights) -> Weights:
        """The importance of each weight to one task, in multiples of the mean over all weights."""
        mean = mean_of(importance) if self.importance_scale == "mean" else 1.0
        return {name: value / mean for name, value in importance.items()} if mean else importance

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and parabola."""
        super().load_state_dict(state)
        self._find_unit()

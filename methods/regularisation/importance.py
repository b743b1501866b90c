"""Penalties on weights by their importance to earlier tasks."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.checks import check_choice
from redwood.methods.lightning import LightningMethod
from redwood.methods.regularisation.measure import Measure
from redwood.methods.regularisation.quadratic_penalty import QuadraticPenalty, Weights, mean_of
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting

SCALES = ("mean", "none")  # of the option importance_scale


@dataclass
class ImportanceScale:
    """The option of measures whose size depends on the data; see `WeightImportance.scales_to_mean`."""

    # mean: divide a task's importances by their mean over all weights, and average them over tasks; none: as the paper
    importance_scale: str = "mean"

    def check_importance_scale(self) -> None:
        """Raise `InvalidOptionError` if there is no such scale."""
        check_choice(self, "importance_scale", SCALES)

    @property
    def scales_to_mean(self) -> bool:
        """True if importances are measured in multiples of their mean."""
        return self.importance_scale == "mean"


@dataclass
class WeightImportance(QuadraticPenalty, LightningMethod):
    """Add a quadratic penalty on each weight to the loss; its curvature is the weight's importance to earlier tasks.

    A subclass gives the `strength` of the penalty, and makes the `measure` of the importance.

    Attributes:
        measure: Measures the importance of weights for the task in training.
        unit: Divides the curvature. It is 1, or the mean of the curvature if `scales_to_mean`.
    """

    target = ClassIncrementalSetting

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        self.start_penalty()
        super().configure(setting)
        self.unit = self.add_state("unit", 1.0)
        self.measure = self.add_state("measure", self.make_measure(), buffer=True)

    @abstractmethod
    def make_measure(self) -> Measure:
        """Make the measure of the importance; the network exists."""

    def importance(self) -> Weights:
        """Return the importance of each weight for the finished task, at least 0; equal on all workers."""
        return self.measure.importance()

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        self.measure.begin_task()

    @override
    def after_loss(self, step: Step) -> None:
        super().after_loss(step)
        self.measure.after_loss(step)

    @override
    def before_optimizer_step(self) -> None:
        super().before_optimizer_step()
        self.measure.before_optimizer_step()

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        self.measure.after_batch()

    @override
    def trained_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        own = set(self.names_per_task())
        return ((name, p) for name, p in self.network.named_parameters() if p.requires_grad and name not in own)

    def trained_names(self) -> list[str]:
        """The names of the parameters with a penalty."""
        return [name for name, _ in self.trained_weights()]

    def penalised_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that already have a penalty, and their names."""
        return ((name, p) for name, p in self.network.named_parameters() if name in self.curvature)

    @override
    def loss(self, step: Step) -> Tensor:
        return super().loss(step) + self.penalty()

    def effective_strength(self, name: str) -> Tensor:
        """Curvature of the penalty for each weight of a parameter: min(strength * curvature / unit, 1 / lr).

        `lr` is the learning rate of the phase. The papers have no such bound. A step of gradient descent on a parabola
        of curvature c takes the weight past its minimum if lr * c > 1. If lr * c > 2, the weight ends further away than
        before: important weights would blow up.
        """
        return (self.strength / self.unit * self.curvature[name]).clamp(max=1 / self.phase_lr)

    def penalty(self) -> Tensor:
        """1/2 * sum_i effective_strength_i (w_i - m_i)^2, up to a constant without a gradient; a scalar."""
        total = torch.zeros((), device=self.device)
        for name, parameter in self.penalised_weights():
            total = total + (self.effective_strength(name) * (parameter - self.minimum[name]).square()).sum()
        return total / 2

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        with self.flops.count():
            importance = self.without_free_entries(self.importance())
        self.consolidate(self.in_multiples_of_mean(importance) if self.scales_to_mean else importance)
        if self.scales_to_mean and self.curvature:
            self.unit = mean_of(self.curvature) or 1.0
        self.measure.end_task()

    @property
    def scales_to_mean(self) -> bool:
        """True if importances are measured in multiples of their mean, so that one strength serves many streams.

        The size of an importance depends on the data, on the network and on how well the task was learned. A network
        that is sure of its predictions has a tiny Fisher information. The papers tune the strength for each stream
        instead. Schwarz et al. (2018) normalise the Fisher information of each task, too, so that all tasks count
        alike. The penalty then divides the sum over tasks by its mean, so it does not grow with the number of tasks.
        """
        return False

    @staticmethod
    def in_multiples_of_mean(importance: Weights) -> Weights:
        """The importances divided by their mean over all weights; zeros stay zeros."""
        mean = mean_of(importance)
        return {name: value / mean for name, value in importance.items()} if mean else importance

    def consolidate(self, importance: Weights) -> None:
        """Update the penalty with the importance for the task that is over; by default by `move_penalty`."""
        self.move_penalty(importance)

    @override
    def never_acted(self) -> str | None:
        if self.phase_count < 2:
            return "The penalty on weights never acted: it begins with the second phase, and this run has only one."
        if self.free_entries():
            return "The penalty on weights never acted: all weights that earlier tasks answer with are frozen anyway."
        return super().never_acted()

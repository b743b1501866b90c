"""Importance of weights, measured on samples of the finished task."""

from abc import abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.checks import check_choice
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.methods.regularisation.importance import SCALES, WeightImportance
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting

CHUNK = 32


def mean_over_samples(
    network: nn.Module,
    value: Callable[..., Tensor],
    measure: Callable[[Tensor], Tensor],
    *data: Tensor,
    names: Collection[str] | None = None,
) -> Weights:
    """The mean over samples of a measure of each sample's gradient.

    Args:
        network: Its parameters are differentiated by, in evaluation mode.
        value: Maps the network's parameters and one sample of each of `data` to a scalar.
        measure: Maps gradients (B, ...) to a tensor of that shape, elementwise; its mean is taken.
        *data: Tensors (n, ...), n samples.
        names: Which parameters; default: those that are trained.

    Returns:
        One tensor per parameter, of the parameter's shape.
    """
    weights = {
        name: p.detach()
        for name, p in network.named_parameters()
        if (p.requires_grad if names is None else name in names)
    }
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    per_sample = vmap(grad(value), in_dims=(None,) + (0,) * len(data))
    with evaluating(network):
        for chunk in zip(*(tensor.split(CHUNK) for tensor in data), strict=True):
            for name, gradients in per_sample(weights, *chunk).items():
                total[name] += measure(gradients).sum(0)
    return {name: summed / len(data[0]) for name, summed in total.items()}


@dataclass
class SampledImportance(WeightImportance):
    """Measure the importance of weights on samples of the task, which were kept aside in its first pass.

    They are a uniform sample of the task. No sample is used after its task.

    Attributes:
        aside: The samples of this worker.
    """

    purpose: ClassVar[str]  # tells the random draws of methods apart

    # mean: divide a task's importances by their mean over all weights, and average them over tasks; none: as the paper
    importance_scale: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "importance_scale", SCALES)

    @property
    @override
    def scales_to_mean(self) -> bool:
        return self.importance_scale == "mean"

    @property
    @abstractmethod
    def n_aside(self) -> int:
        """Samples of each task that each worker keeps aside."""

    @abstractmethod
    def importance_on(self, x: Tensor, y: Tensor, task_id: Tensor) -> Weights:
        """The importance of each weight, on the network's device.

        Args:
            x: Samples of the task (n, ...).
            y: Their labels (n,), or label sets (n, K).
            task_id: Their tasks (n,); zeros where these are hidden.
        """

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.aside = self.add_state("aside", self._empty_sample(), buffer=True)

    def _empty_sample(self) -> RehearsalBuffer:
        seed = derive_seed(self.setting.seed, f"{self.purpose} samples", self.phase_count, rank())
        return RehearsalBuffer(self.n_aside, seed=seed)

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        self.aside = self._empty_sample()

    @override
    def after_loss(self, step: Step) -> None:
        super().after_loss(step)
        if step.first_pass:
            self.aside.add(step.incoming.leaves())

    @override
    def importance(self) -> Weights:
        sample = self.aside.sample(self.n_aside)
        x, y = sample["x"].to(self.device), sample["y"].to(self.device)
        ids = (
            sample["task_id"].to(self.device)
            if "task_id" in sample
            else torch.zeros(len(y), dtype=torch.long, device=self.device)
        )
        found = self.importance_on(x, y, ids)
        return {
            name: sum_over_workers(found[name].cpu()).to(self.device) / world_size()
            for name, _ in self.trained_weights()
        }

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        self.aside = self._empty_sample()

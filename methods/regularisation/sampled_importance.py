"""Importance of weights, measured on samples of the finished task."""

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from typing_extensions import override

from redwood.buffers import RehearsalBuffer
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, sum_over_workers, world_size
from redwood.methods.lightning import LightningMethod
from redwood.methods.regularisation.measure import Measure
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Step

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


class SampledImportance(Measure):
    """Measures the importance of weights on samples of the task, which are kept aside in its first pass.

    They are a uniform sample of the task. No sample is used after its task.

    Attributes:
        aside: The samples of this worker.
    """

    def __init__(
        self,
        method: LightningMethod,
        names: Callable[[], Iterable[str]],
        importance_on: Callable[[Tensor, Tensor, Tensor], Weights],
        n_aside: int,
        purpose: str,
    ) -> None:
        """Keep no sample yet.

        Args:
            method: It is trained.
            names: Names the weights that are measured.
            importance_on: Gives the importance of each weight on samples of the task (n, ...), their labels (n,) or
                label sets (n, K), and their tasks (n,), zeros where these are hidden; all on the network's device.
            n_aside: Samples of each task that each worker keeps aside.
            purpose: Tells the random draws of methods apart.
        """
        self._method, self._names, self._importance_on = method, names, importance_on
        self._n_aside, self._purpose = n_aside, purpose
        self.device = method.device  # where a loaded state goes
        self.aside = self.add_state("aside", self._empty_sample(), buffer=True)

    def _empty_sample(self) -> RehearsalBuffer:
        seed = derive_seed(self._method.setting.seed, f"{self._purpose} samples", self._method.phase_count, rank())
        return RehearsalBuffer(self._n_aside, seed=seed)

    @override
    def begin_task(self) -> None:
        self.aside = self._empty_sample()

    @override
    def after_loss(self, step: Step) -> None:
        if step.first_pass:
            self.aside.add(step.incoming.leaves())

    @override
    def importance(self) -> Weights:
        device = self._method.device
        sample = self.aside.sample(self._n_aside)
        x, y = sample["x"].to(device), sample["y"].to(device)
        ids = (
            sample["task_id"].to(device)
            if "task_id" in sample
            else torch.zeros(len(y), dtype=torch.long, device=device)
        )
        found = self._importance_on(x, y, ids)
        return {name: sum_over_workers(found[name].cpu()).to(device) / world_size() for name in self._names()}

    @override
    def end_task(self) -> None:
        self.aside = self._empty_sample()

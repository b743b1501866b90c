"""Elastic weight consolidation (Kirkpatrick et al., 2017)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from redwood.buffers import RehearsalBuffer
from redwood.methods.lightning import LightningMethod
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.checks import check_range
from redwood.settings.incremental import ClassIncrementalSetting
from redwood.settings.seeding import derive_seed, generator
from redwood.settings.workers import rank, sum_over_workers, world_size

CHUNK = 32

Weights = dict[str, Tensor]


def fisher_diagonal(network: nn.Module, log_likelihood: Callable[..., Tensor], *data: Tensor) -> Weights:
    """Diagonal of the Fisher information: the mean square of each sample's gradient.

    Args:
        network: Its parameters are differentiated by, in evaluation mode.
        log_likelihood: Maps the network's parameters and one sample of each of `data` to log p(y | x), a scalar.
        *data: Tensors (n, ...), n samples.

    Returns:
        One tensor per parameter that is trained, of the parameter's shape.
    """
    weights = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    per_sample = vmap(grad(log_likelihood), in_dims=(None,) + (0,) * len(data))
    training = network.training
    network.eval()
    for chunk in zip(*(tensor.split(CHUNK) for tensor in data), strict=True):
        for name, gradients in per_sample(weights, *chunk).items():
            total[name] += gradients.square().sum(0)
    network.train(training)
    return {name: value / len(data[0]) for name, value in total.items()}


@dataclass
class EWC(LightningMethod):
    """Pull each weight back to where earlier tasks left it, as hard as they depend on it (equation 3).

    The penalty is lambda/2 * sum over tasks k and weights i of F_ki (w_i - w*_ki)^2, as far as steps of the learning
    rate can follow it (see `penalty`). The sum over tasks is itself a
    parabola in each w_i, so its curvature and its minimum, two numbers per weight, stand for any number of tasks.
    The Fisher information is estimated on samples of the task that were kept aside as they came, with labels drawn from
    the network's own predictions; so no sample is visited again after its task.
    """

    target = ClassIncrementalSetting

    ewc_lambda: float = 100.0  # strength of the penalty
    fisher_samples: int = 200  # samples of each task that the Fisher information is estimated on

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "ewc_lambda", 0)
        check_range(self, "fisher_samples", 1)

    def configure(self, setting: Setting) -> None:
        """Build the network; no weight matters yet."""
        super().configure(setting)
        self.curvature: Weights = {}
        self.minimum: Weights = {}
        self._aside = self._empty_sample()

    def _empty_sample(self) -> RehearsalBuffer:
        seed = derive_seed(self.setting.seed, "fisher samples", self.phase_count, rank())
        return RehearsalBuffer(self.fisher_samples, seed=seed)

    def on_task_start(self, task_id: int | None) -> None:
        """Start a new sample of the task."""
        super().on_task_start(task_id)
        self._aside = self._empty_sample()

    def augment(self, batch: Batch) -> Batch:
        """Put some of the incoming samples aside for the Fisher information."""
        if self.phase.train.first_pass:
            self._aside.add(batch.leaves())
        return super().augment(batch)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of the batch and the penalty."""
        return super().loss(batch) + self.penalty()

    def penalty(self) -> Tensor:
        """1/2 * sum_i min(lambda F_i, 1 / lr) (w_i - m_i)^2, up to a constant that has no gradient; a scalar.

        The bound is no part of the paper. A step of gradient descent on a parabola of curvature c takes the weight past
        its minimum if lr * c > 1, and further away than it was if lr * c > 2: important weights would blow up.
        """
        total = torch.zeros((), device=self.device)
        for name, parameter in self.network.named_parameters():
            if name in self.curvature:
                pull = (self.ewc_lambda * self.curvature[name]).clamp(max=1 / self.lr)
                total = total + (pull * (parameter - self.minimum[name]).square()).sum()
        return total / 2

    def on_task_end(self, task_id: int | None) -> None:
        """Add the parabola of the task that is over."""
        super().on_task_end(task_id)
        with self.flops.count():
            fisher = self._fisher()
        for name, parameter in self.network.named_parameters():
            if name in fisher:
                self._add_parabola(name, fisher[name], parameter.detach())
        self._aside = self._empty_sample()

    def _fisher(self) -> Weights:
        sample = self._aside.sample(self.fisher_samples)
        x = sample["x"].to(self.device)
        ids = sample["task_id"].to(self.device) if "task_id" in sample else torch.zeros_like(sample["y"])
        choice = generator(self.setting.seed, "fisher labels", self.phase_count, rank())
        scores = self.predict(x, ids)
        labels = torch.multinomial(scores.softmax(1).cpu(), 1, generator=choice)[:, 0].to(self.device)

        def log_likelihood(weights: Weights, one: Tensor, label: Tensor, task: Tensor) -> Tensor:
            output = self.heads.mask(functional_call(self.network, weights, (one[None],)), task[None])
            return output.log_softmax(1)[0].gather(0, label[None])[0]

        fisher = fisher_diagonal(self.network, log_likelihood, x, labels, ids)
        return {name: sum_over_workers(f.cpu()).to(self.device) / world_size() for name, f in fisher.items()}

    def _add_parabola(self, name: str, fisher: Tensor, anchor: Tensor) -> None:
        if name not in self.curvature:
            self.curvature[name], self.minimum[name] = fisher, anchor.clone()
            return
        curvature = self.curvature[name] + fisher
        moved = (self.curvature[name] * self.minimum[name] + fisher * anchor) / curvature
        self.minimum[name] = torch.where(curvature > 0, moved, anchor)
        self.curvature[name] = curvature

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the parabola, and the samples put aside."""
        ewc = {"curvature": self.curvature, "minimum": self.minimum, "aside": self._aside.state_dict()}
        return super().state_dict() | {"ewc": ewc}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and parabola."""
        super().load_state_dict(state)
        ewc = state["ewc"]
        for own, saved in ((self.curvature, ewc["curvature"]), (self.minimum, ewc["minimum"])):
            own.update({name: value.to(self.device) for name, value in saved.items()})
        self._aside.load_state_dict(ewc["aside"])
        self._aside.to(self.device)

    def costs(self) -> dict[str, Any]:
        """The costs of training; the weights' parabola and the samples put aside count as buffer."""
        parabola = sum(t.nbytes for part in (self.curvature, self.minimum) for t in part.values())
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + parabola + self._aside.nbytes}

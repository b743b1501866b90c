"""MAML and ANIL: weights are meta-learned before the stream; in the stream each labelled batch adapts them anew."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from redwood.branches.osaka.inner_loop import MetaNetwork, Weights
from redwood.branches.osaka.setting import OsakaSetting
from redwood.branches.osaka.stream import OsakaPhase
from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.training.optimizers import OPTIMIZERS
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from redwood.settings.supervised import SupervisedSetting


@dataclass
class MAML(LightningMethod):
    """Meta-learn before the stream (Finn et al., 2017, Algorithm 2); then adapt the frozen weights to each batch anew.

    The baseline `MAML` of Caccia et al. (2020), "Online Fast Adaptation and Knowledge Accumulation". Predictions come
    from fast weights, which a few gradient steps on labelled samples have made of slow weights.

    In pre-training, each batch is an episode: the support set adapts the slow weights. The loss of the query set is
    minimised over the slow weights and over the step sizes of the adaptation.

    A batch tells how to predict the next one only where batches come from one context. Predictions also have to be
    asked for in the stream. So the target is `osaka`.

    Attributes:
        fast: The fast weights, by which the next batch is predicted; empty: the slow weights.
    """

    target = OsakaSetting
    composition: ClassVar[Composition] = Composition.NEVER

    optimizer: Choice = OPTIMIZERS.chosen("adam")  # algorithm that updates the slow weights
    lr: float = 0.002  # learning rate of the slow weights
    inner_lr: float = 0.1  # initial step size of the adaptation; pre-training learns one for each weight
    inner_steps: int = 4  # gradient steps of the adaptation
    second_order: bool = False  # let the gradient of the slow weights go through those of the adaptation

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "inner_lr")
        check_range(self, "inner_steps", 1, 10_000)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        assert isinstance(setting, OsakaSetting)
        if self.run.precision == "16-mixed":
            raise InvalidOptionError(
                "--precision 16-mixed scales the gradients of every step, but some steps of "
                f"{self.reference()} have none; use bf16-mixed or 32-true."
            )
        super().configure(setting)
        self.fast: Weights = self.add_state("fast", {})
        self.pretrained = self.add_state("pretrained", False)
        self._n_support = setting.ways * setting.shots

    @override
    def make_network(self) -> MetaNetwork:
        body = super().make_network()
        return MetaNetwork(body, self.adapted(body), self.inner_lr)

    def adapted(self, body: nn.Module) -> Iterable[str]:
        """Names of the parameters that the inner loop adapts."""
        return [name for name, value in body.named_parameters() if value.requires_grad]

    @property
    def meta(self) -> MetaNetwork:
        """The network, with its step sizes."""
        assert isinstance(self.network, MetaNetwork)
        return self.network

    @override
    def fit(self, phase: OsakaPhase) -> None:  # type: ignore[override]  # the target is `osaka`
        self.fast = {}
        super().fit(phase)
        self.pretrained = self.pretrained or phase.pretraining

    @override
    def loss(self, step: Step) -> Tensor:
        assert isinstance(self.phase, OsakaPhase)
        if self.phase.pretraining:
            return self._episode_loss(step.batch)
        return self.stream_loss(step)

    def _episode_loss(self, episode: Batch) -> Tensor:
        n = self._n_support
        return self.outer_loss(episode.x[:n], episode.y[:n], episode.x[n:], episode.y[n:])

    def outer_loss(self, x: Tensor, y: Tensor, x_query: Tensor, y_query: Tensor) -> Tensor:
        """The loss (scalar) on query samples after an adaptation to x, y: a function of slow weights and step sizes."""
        slow = self.meta.slow_weights()
        fast = self.meta.adapt(slow, x, y, steps=self.inner_steps, second_order=self.second_order)
        return self.meta.loss(fast, x_query, y_query)

    @torch.no_grad()
    def adapt(self, start: Weights, x: Tensor, y: Tensor) -> Weights:
        """Fast weights without a graph."""
        return self.meta.adapt(start, x, y, steps=self.inner_steps)

    @torch.no_grad()
    def loss_now(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss (scalar) of the fast weights, before they learn of these labels."""
        return self.meta.loss(self.meta.slow_weights() | self.fast, x, y)

    def stream_loss(self, step: Step) -> Tensor:
        """Learn from a batch of the stream: set the fast weights; return the loss for the slow weights, or `held`."""
        x, y, _ = step.batch
        before = self.loss_now(x, y)
        self.fast = self.adapt(self.meta.slow_weights(), x, y)
        return self.held(before)

    @staticmethod
    def held(loss: Tensor) -> Tensor:
        """A loss with this value that moves nothing: no parameter gets a gradient, so the optimizer passes by all."""
        return loss.detach().requires_grad_()

    @override
    def forward(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        scores: Tensor = functional_call(self.meta.body, self.fast, (x,))
        return scores

    @override
    def never_acted(self) -> str | None:
        if self.pretrained:
            return None
        return (
            f"{self.reference()} met no pre-training phase, so it adapted weights that nothing had trained; "
            "add --pretraining with a number of episodes."
        )


@dataclass
class ANIL(MAML):
    """MAML whose inner loop adapts the last layer alone (Raghu et al., 2020, "Rapid Learning or Feature Reuse?")."""

    @override
    def adapted(self, body: nn.Module) -> Iterable[str]:
        head = output_layer(body, self.setting.observation_space, "is what anil adapts")
        return [name for name, value in body.named_parameters() if any(value is own for own in head.parameters())]

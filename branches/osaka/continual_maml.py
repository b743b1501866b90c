"""Continual-MAML (Caccia et al., 2020, "Online Fast Adaptation and Knowledge Accumulation", Algorithm 2)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from redwood.branches.osaka.inner_loop import Weights
from redwood.branches.osaka.maml import MAML
from redwood.core.checks import check_range
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting

FEWEST_SPLIT = 4  # samples that can be split in two: batch normalisation needs two in each half


@dataclass
class ContinualMAML(MAML):
    """Go on learning the slow weights in the stream: each batch tests what the batch before it has adapted.

    Three parts are options, each off at 0:

    - Boundary detection: where weights adapted anew to a batch have a loss lower by `boundary_threshold` than the fast
      weights, the context has changed. The fast weights were made for another context, so no outer step is taken.
    - Update modulation: an outer step of loss L is taken at 1 - exp(-lambda L) times the learning rate. So known
      samples change little. The authors' code multiplies the loss by that factor, which Adam divides out again.
    - Prolonged adaptation: the fast weights go on learning until the next boundary, instead of starting from the slow
      ones at each batch. The batches since the last boundary are kept. After `prolonged_batches` batches, or at a
      boundary, every second sample of them adapts the slow weights. The others give the outer step.

    Attributes:
        boundaries: Steps of the stream at which the context seemed to have changed.
        batches: The batches, each of samples and labels, that the next outer step learns from.
        begun: Whether a batch of the stream has been learned.
    """

    # gamma: a new adaptation that lowers the loss by this much shows a switch (0: no test)
    boundary_threshold: float = 1.0
    update_modulation: float = 2.0  # lambda: outer steps at 1 - exp(-lambda loss) times the learning rate (0: all at 1)
    prolonged_batches: int = 16  # prolonged adaptation: outer steps at a switch or after so many batches (0: off)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "boundary_threshold", 0)
        check_range(self, "update_modulation", 0)
        check_range(self, "prolonged_batches", 0)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.boundaries: list[int] = self.add_state("boundaries", [])
        self.batches: list[list[Tensor]] = self.add_state("batches", [], buffer=True)
        self.begun = self.add_state("begun", False)
        # The factors of the outer steps whose gradients the next step of the optimizer takes.
        self._factors: list[Tensor] = []
        self._rates: list[Any] = []

    @override
    def stream_loss(self, step: Step) -> Tensor:
        learn = self._prolonged if self.prolonged_batches else self._anew
        loss = learn(step, step.batch.x, step.batch.y)
        self.begun = True
        return loss

    def _anew(self, step: Step, x: Tensor, y: Tensor) -> Tensor:
        """Adapt the slow weights to each batch; the next batch is the query set of the outer step."""
        outer = self.outer_loss(self.batches[0][0], self.batches[0][1], x, y) if self.batches else None
        renewed = self.adapt(self.meta.slow_weights(), x, y)
        switched = outer is not None and self._has_switched(step, outer, renewed)
        self.fast, self.batches = renewed, [[x, y]]
        if outer is None or switched:
            return self.held(self.meta.loss(renewed, x, y))
        return self._modulated(outer)

    def _prolonged(self, step: Step, x: Tensor, y: Tensor) -> Tensor:
        """Adapt the fast weights further; the batches of a context are split for the outer step."""
        before = self.loss_now(x, y)
        renewed = self.adapt(self.meta.slow_weights(), x, y)
        switched = self.begun and self._has_switched(step, before, renewed)
        if switched or not self.fast:
            self.fast = renewed
        else:
            self.fast = self.adapt(self.meta.slow_weights() | self.fast, x, y)
        finished = self.batches
        loss = self.held(before)
        if finished and (switched or len(finished) == self.prolonged_batches):
            samples, labels = (torch.cat(parts) for parts in zip(*finished, strict=True))
            if len(labels) >= FEWEST_SPLIT:
                loss = self._modulated(self.outer_loss(samples[::2], labels[::2], samples[1::2], labels[1::2]))
                self.flops.note(len(labels))
            self.batches = []
        self.batches = [*self.batches, [x, y]]
        return loss

    def _has_switched(self, step: Step, before: Tensor, renewed: Weights) -> bool:
        """Return whether weights adapted anew to the batch beat those that predicted it by the threshold."""
        if not self.boundary_threshold:
            return False
        with torch.no_grad():
            after = self.meta.loss(renewed, step.batch.x, step.batch.y)
        switched = bool(after + self.boundary_threshold <= before)
        if switched:
            assert step.incoming.batch_id is not None
            self.boundaries.append(step.incoming.batch_id.step)
        return switched

    # Update modulation.

    def _modulated(self, loss: Tensor) -> Tensor:
        """The loss as it is; the optimizer's step of it will be smaller, the smaller it is."""
        if self.update_modulation:
            self._factors.append(-torch.expm1(-self.update_modulation * loss.detach()))
        return loss

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._optimizer().register_step_post_hook(self._restore_rates)

    @override
    def before_optimizer_step(self) -> None:
        super().before_optimizer_step()
        groups = self._optimizer().param_groups
        self._rates = [group["lr"] for group in groups]
        if self._factors:
            factor = float(torch.stack(self._factors).mean())
            for group in groups:
                group["lr"] = group["lr"] * factor
            self._factors = []

    def _restore_rates(self, optimizer: Optimizer, *_: Any) -> None:
        """Restore the learning rates before a schedule or a checkpoint reads them."""
        for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate

    def _optimizer(self) -> Optimizer:
        return self.module.trainer.optimizers[0]

    @override
    def never_acted(self) -> None:
        """It acts without pre-training, too: the stream itself teaches the slow weights."""

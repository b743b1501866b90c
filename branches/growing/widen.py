"""A network that grows with the stream, by widening its hidden layers (Chen et al., 2016, "Net2Net")."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from redwood.branches.growing.widening import NEAR_ZERO, WIDENINGS, carry_over_state, use_of_units, widen
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import generator
from redwood.core.state import State, Stateful
from redwood.core.workers import sum_over_workers, world_size
from redwood.methods.architecture.chains import hidden_pairs, take_shapes
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.optimizers import bare_optimizer
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting

SMOOTHING = 0.2
SIGMAS = 3.0
# In standard deviations. Larger losses count as this, so that it takes several of them to move the average out.
CLIP = 6.0


class LossWatch(Stateful):
    """Detects a change: a moving average of the losses has left their usual range for some time.

    The average is exponentially weighted (a control chart: Roberts, 1959). The range ends three standard deviations
    above the mean of the latest losses that lay within it. Single losses deviate more than their average, so losses
    that merely scatter hardly ever leave the range, and single outliers never do.

    Attributes:
        window: Number of losses that the range is taken from; nothing is detected before there are as many.
    """

    def __init__(self, window: int, patience: int) -> None:
        """Start without a range.

        Args:
            window: Number of losses that the range is taken from.
            patience: Successive losses at which the average has to lie above the range.
        """
        self.window = window
        self._patience = patience
        self.usual: list[float] = self.add_state("usual", [])
        self.average: float | None = self.add_state("average", None)
        self.above = self.add_state("above", 0)

    def update(self, loss: float) -> bool:
        """Count a loss, and return whether the stream has changed. If so, the watch starts again without a range."""
        del self.usual[: -self.window]
        limit, clip = self._limits()
        counted = min(loss, clip)
        self.average = counted if self.average is None else self.average + SMOOTHING * (counted - self.average)
        self.above = self.above + 1 if self.average > limit else 0
        if loss <= limit:
            self.usual.append(loss)
        if self.above < self._patience:
            return False
        self.usual, self.average, self.above = [], None, 0
        return True

    def _limits(self) -> tuple[float, float]:
        """The end of the range, and the value that larger losses count for; infinite until there is a range."""
        if len(self.usual) < self.window:
            return inf, inf
        mean = fmean(self.usual)
        sigma = sqrt(fmean((loss - mean) ** 2 for loss in self.usual))
        return mean + SIGMAS * sigma, mean + CLIP * sigma


NOISE = 0.01
# Mini-batches that the usual loss is taken from: at least, at most, and as 1 / SHARE of a pass.
SMALLEST, LARGEST, SHARE = 5, 50, 5


@dataclass
class Widen(LightningMethod):
    """Fine-tune a network whose hidden layers get more units at each new task, or when the loss shows a change.

    The function of the network does not change when it grows, and the optimizer keeps its state. New units have
    outgoing weights of zero, or are copies of old units with noise (1 % of the standard deviation of the weights). The
    paper asks for noise where nothing else makes equal units differ: with dropout the copies are exact.

    With `near_zero` new units have incoming weights near zero, too. With `widen_protect` mu, the loss gets the term
    mu / 2 * sum over hidden units of use * ||dtheta||^2. Here dtheta is the distance of the unit's incoming weights
    from those at the last growth. Units in use keep their knowledge, and idle units, old and new, learn new tasks.
    Without the use of each unit (`use_of_units`), it is the usual penalty on the deformation of a model.

    The loss shows a change if its moving average stays three standard deviations above its mean (`LossWatch`). Of a
    repeated mini-batch only the first loss counts, before the network learns from it.
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.NEVER  # other methods keep tensors of the shape of each weight
    regression: ClassVar[bool] = True
    multi_label: ClassVar[bool] = True

    widen_units: int = 32  # units (channels) that each hidden layer gets when the network grows
    widen_mode: str = "zero_outgoing"  # new units: zero_outgoing (fresh), near_zero (nearly none) or net2wider (copies)
    widen_protect: float = 0.0  # weight mu of the distance of used units from their weights at the last growth
    widen_when: str = "boundary"  # boundary (event where none is announced), or event: when the loss shows a change
    # event: mini-batches that the usual loss is taken from (0: a fifth of those of a pass, but 5 to 50)
    widen_window: int = 0
    widen_patience: int = 5  # event: successive mini-batches with an unusual loss

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "widen_units", 1, 1_000_000)
        check_choice(self, "widen_mode", WIDENINGS)
        check_choice(self, "widen_when", ("boundary", "event"))
        if self.widen_window < 0 or self.widen_window == 1:
            raise InvalidOptionError(f"--widen_window {self.widen_window} has to be at least 2, or 0.")
        check_range(self, "widen_patience", 1)
        check_range(self, "widen_protect", 0)
        if self.patience and self.widen_when == "event":
            raise InvalidOptionError(
                f"--patience {self.patience} restores the best weights of a phase, but with --widen_when event the "
                "network grows within it; use --widen_when boundary."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.pairs = hidden_pairs(self.network)
        self.growths = self.add_state("growths", 0)
        # Of each widened layer, at the last growth: its parameters, and how much each unit was in use.
        self.protected: list[dict[str, Tensor]] = self.add_state("protected", [], buffer=True)
        self._by_event = self.widen_when == "event" or not setting.assumptions.boundaries
        self.watch = self.add_state("watch", LossWatch(self.widen_window or LARGEST, self.widen_patience))

    @override
    def on_task_start(self, task_id: int | None) -> None:
        super().on_task_start(task_id)
        if self.phase_count and not self._by_event:
            self.grow()

    @override
    def fit(self, phase: Phase) -> None:
        self.watch.window = self.widen_window or min(max(phase.train.steps_per_pass // SHARE, SMALLEST), LARGEST)
        super().fit(phase)

    @override
    def loss(self, step: Step) -> Tensor:
        loss = super().loss(step)
        return loss + self.widen_protect / 2 * self.deformation() if self.protected else loss

    def deformation(self) -> Tensor:
        """The squared distance (scalar) of hidden units from where they were at the last growth, times their use."""
        terms = [
            before["use"] @ (parameter - before[name]).square().reshape(pair.n_units, -1).sum(1)
            for pair, before in zip(self.pairs, self.protected, strict=True)
            for name, parameter in pair.layer.named_parameters()
        ]
        return torch.stack(terms).sum()

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        train = self.phase.train
        is_new = batch_idx % (len(train) // train.steps_per_pass) == 0
        if self._by_event and is_new and self.shows_change(loss):
            self._grow(self.module.trainer.optimizers)
            self.module.update_gradient_exchange()

    def shows_change(self, loss: Tensor) -> bool:
        """True if the loss of a new mini-batch shows a change of the stream, on all workers alike."""
        mean = float(sum_over_workers(loss.detach().double().cpu())) / world_size()
        return self.watch.update(mean)

    def grow(self) -> None:
        """Widen all hidden layers between two phases, and the optimizer state that is kept."""
        optimizers = [] if self.kept is None else [bare_optimizer(self)]
        self._grow(optimizers)
        if optimizers:
            self.kept = optimizers[0].state_dict()

    def _grow(self, optimizers: Sequence[Optimizer]) -> None:
        """Widen all hidden layers, alike on all workers; the optimizers continue with the new ones."""
        random = generator(self.setting.seed, "widening", self.growths)
        uses = [use_of_units(pair) for pair in self.pairs]
        for number, pair in enumerate(self.pairs):
            units = WIDENINGS[self.widen_mode](pair.n_units, self.widen_units, random)
            fresh_std = NEAR_ZERO if self.widen_mode == "near_zero" else None
            changes = widen(pair, units, random, noise=0.0 if self.dropout else NOISE, fresh_std=fresh_std)
            uses[number] = units.carry_over(uses[number], dim=0, power=0)
            for optimizer in optimizers:
                carry_over_state(optimizer, changes)
        if self.widen_protect:
            self.protected = [
                {name: parameter.detach().clone() for name, parameter in pair.layer.named_parameters()} | {"use": use}
                for pair, use in zip(self.pairs, uses, strict=True)
            ]
        self.growths += 1
        self.flops.start_anew()

    @override
    def never_acted(self) -> str | None:
        if self.growths:
            return super().never_acted()
        if self._by_event:
            return (
                f"The network never grew: the loss never stayed unusual for --widen_patience {self.widen_patience} "
                f"mini-batches in a row, after the {self.watch.window} of --widen_window."
            )
        return "The network never grew: it does so at the second task, and this run has only one."

    @override
    def load_state_dict(self, state: State) -> None:
        take_shapes(self.network, state["network"])  # the network may have grown
        super().load_state_dict(state)

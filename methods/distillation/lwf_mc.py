"""LwF.MC, learning without forgetting for many classes (Rebuffi et al., 2017, section 4.2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.methods.architecture.masked_update import MaskedUpdate
from redwood.methods.base import Composition
from redwood.methods.distillation.losses import sigmoid_distillation
from redwood.methods.distillation.teacher import NO_EARLIER_TASK, ONE_TEACHER, Teacher
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.training.layers import evaluating
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting


@dataclass
class LwFMC(LightningMethod):
    """Train as iCaRL does, by one sigmoid for each class, but without exemplars; the highest output counts.

    Classes that come again are learned from their labels, not from the teacher: where all tasks share their outputs
    nothing is left to distil.
    """

    target = ClassIncrementalSetting
    composition: ClassVar[Composition] = Composition.LAST
    brings: ClassVar[frozenset[str]] = frozenset({"teacher"})
    bars: ClassVar[Mapping[str, str]] = ONE_TEACHER

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.teacher = self.add_state("teacher", Teacher(self.network, self.n_outputs, self.flops), buffer=True)
        seen = torch.ones(self.n_outputs, dtype=torch.bool, device=self.device)
        self.seen = self.add_state("seen", seen)  # no class is known to be out of the question yet

    @override
    def fit(self, phase: Phase) -> None:
        self.teacher.begin(phase, past_accessible=self.setting.assumptions.past_accessible)
        known, current = self.teacher.known, self.teacher.current
        self._taught = (known & ~current).to(self.device)
        self.seen = (known | current).to(self.device)
        super().fit(phase)

    @override
    def loss(self, step: Step) -> Tensor:
        """Binary cross-entropy summed over the classes seen so far, for old ones with the teacher's answers."""
        outputs = self.outputs(step)
        answers = None if self.teacher.copy is None else self.teacher(step.batch.x)
        return sigmoid_distillation(outputs, step.batch.y, answers, self._taught, self.seen, step.weights)

    @torch.no_grad()
    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return scores (B, K) of the network; minus infinity for classes that have not come yet.

        The loss does not train the outputs of such classes. They would exceed the outputs that were trained to be low.
        """
        return super().predict(x, task_id).masked_fill(~self.seen, -torch.inf)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        self.keep_teacher()

    def keep_teacher(self) -> None:
        """Let the teacher learn what this task has taught the network."""
        self.teacher.learn()

    @override
    def never_acted(self) -> str | None:
        return NO_EARLIER_TASK if self.phase_count < 2 else super().never_acted()


@dataclass
class Fixed(LwFMC):
    """Freeze the representation after the first task, and the output of each class after the task that holds it.

    A later task trains the rows of its own classes in the last layer, by one sigmoid for each class as `lwf_mc` does.
    So old outputs never change. New classes get features of the first task, and no output learns to say no to later
    ones. Where ids are hidden at test, later classes compete with old ones, and take over a few of their samples.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer_state == "keep":
            raise InvalidOptionError(
                "--optimizer_state keep does not go with fixed, which later trains fewer weights; use reset."
            )

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "fixed trains on")
        self._frozen = MaskedUpdate(self.frozen)

    @override
    def fit(self, phase: Phase) -> None:
        """Train on one phase; after the first one, the last layer alone."""
        if self.phase_count:
            self.network.requires_grad_(False)
            self._layer.requires_grad_(True)
        super().fit(phase)

    @override
    def loss(self, step: Step) -> Tensor:
        """The loss of `lwf_mc`; frozen features keep their normalisation statistics, too, and drop nothing."""
        if not self.phase_count:
            return super().loss(step)
        with evaluating(self.network):
            return super().loss(step)

    def frozen(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The rows of the last layer that do not belong to the classes of the phase."""
        rows = ~self.teacher.current.to(self.device)
        for parameter in (self._layer.weight, self._layer.bias):
            others = rows.view(-1, *[1] * (parameter.dim() - 1)).expand_as(parameter)
            yield parameter, others

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._frozen.freeze()

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        self._frozen.restore()

    @override
    def keep_teacher(self) -> None:
        """Only note the classes: rows that are frozen need no teacher."""
        self.teacher.learn_classes()

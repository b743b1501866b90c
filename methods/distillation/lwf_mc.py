"""LwF.MC, learning without forgetting for many classes (Rebuffi et al., 2017, section 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.base import Composition
from redwood.methods.distillation.losses import sigmoid_distillation
from redwood.methods.distillation.teacher import Distilling
from redwood.methods.networks.last_layer import output_layer
from redwood.methods.training.layers import evaluating
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class LwFMC(Distilling):
    """Train as iCaRL does, by one sigmoid for each class, but without exemplars; the highest output counts.

    Classes that come again are learned from their labels, not from the teacher: where all tasks share their outputs
    nothing is left to distil.
    """

    composition: ClassVar[Composition] = Composition.LAST

    def configure(self, setting: Setting) -> None:
        """Build the network."""
        super().configure(setting)
        self._seen = torch.ones_like(self.current).to(self.device)  # nothing is known to be out of the question yet

    def fit(self, phase: Phase) -> None:
        """Train the network on a task."""
        known, current = self.teacher.known, self.classes_of(phase)
        self._taught = (known & ~current).to(self.device)
        self._seen = (known | current).to(self.device)
        super().fit(phase)

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy summed over the classes seen so far, for old ones with the teacher's answers."""
        outputs = self.network(batch.x)
        answers = None if self.teacher.network is None else self.teacher(batch.x)
        return sigmoid_distillation(outputs, batch.y, answers, self._taught, self._seen)

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K) of the network, for the classes so far.

        The loss does not reach the outputs of other classes, which would outweigh those that were taught to say no.
        """
        return super().predict(x, task_id).masked_fill(~self._seen, -torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """The network's state, the teacher's, and the classes seen so far."""
        return super().state_dict() | {"seen": self._seen.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        self._seen = state["seen"].to(self.device)


@dataclass
class Fixed(LwFMC):
    """Freeze the representation after the first task, and the output of each class after the task that holds it.

    A later task trains the rows of its own classes in the last layer, by one sigmoid for each class as `lwf_mc` does.
    Nothing is forgotten, but new classes get features of the first task, and no output learns to say no to later ones.
    """

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        if self.optimizer_state == "keep":
            raise InvalidOptionError(
                "--optimizer_state keep does not go with fixed, which later trains fewer weights; use reset."
            )

    def configure(self, setting: Setting) -> None:
        """Build the network.

        Raises:
            InvalidOptionError: If the network does not end in a linear layer.
        """
        super().configure(setting)
        self._layer = output_layer(self.network, setting.observation_space, "fixed trains on")  # type: ignore[arg-type]

    def fit(self, phase: Phase) -> None:
        """Train on one phase; after the first one, the last layer alone."""
        if self.phase_count:
            self.network.requires_grad_(False)
            self._layer.requires_grad_(True)
        super().fit(phase)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of `lwf_mc`; frozen features keep their normalisation statistics, too, and drop nothing."""
        if not self.phase_count:
            return super().loss(batch)
        with evaluating(self.network):
            return super().loss(batch)

    def frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """The rows of the last layer that do not belong to the classes of the phase."""
        rows = ~self.current.to(self.device)
        for parameter in (self._layer.weight, self._layer.bias):
            others = rows.view(-1, *[1] * (parameter.dim() - 1)).expand_as(parameter)
            yield parameter, others  # type: ignore[misc]

    def callbacks(self) -> "Sequence[Callback]":
        """Further Lightning callbacks for each phase."""
        from redwood.methods.architecture.frozen_weights import FrozenWeights

        return [*super().callbacks(), FrozenWeights(self.frozen)]

    def keep_teacher(self) -> None:
        """Only note the classes: rows that are frozen need no teacher."""
        self.teacher.known = self.teacher.known | self.current

"""Fixed representation, a rung of iCaRL's comparison (Rebuffi et al., 2017, section 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from redwood.methods.distillation.output_layer import output_layer
from redwood.methods.lwf_mc import LwFMC
from redwood.methods.training.evaluation import evaluating
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.errors import InvalidOptionError
from redwood.settings.phase import Phase

if TYPE_CHECKING:
    from pytorch_lightning import Callback


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

"""The network as earlier tasks left it, which later ones learn from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from redwood.core.checks import check_choice, check_range
from redwood.methods.distillation.losses import DIVERGENCES
from redwood.methods.lightning import LightningMethod
from redwood.settings.base import Setting
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase
from redwood.settings.tree import ClassIncrementalSetting

if TYPE_CHECKING:
    from redwood.methods.training.flops import FlopMeter


class Teacher:
    """A frozen copy of a network, and which of its outputs have been trained.

    Attributes:
        known: The outputs that the copy has been trained on (K,), bool, on the CPU.
        network: The copy, in evaluation mode; None as long as no task has ended.
    """

    def __init__(self, n_outputs: int, flops: "FlopMeter") -> None:
        """Know nothing; what answers cost is told to `flops`."""
        self.known = torch.zeros(n_outputs, dtype=torch.bool)
        self.network: nn.Module | None = None
        self._flops = flops

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (B, K) of samples (B, ...), without a gradient."""
        assert self.network is not None
        self._flops.note(len(x))
        outputs: Tensor = self.network(x)
        return outputs

    def copy(self, network: nn.Module, trained: Tensor) -> None:
        """Stand for a network from now on, in which the outputs `trained` (K,) have been trained, too."""
        self.known = self.known | trained
        self.network = deepcopy(network).requires_grad_(False).eval()

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        return 0 if self.network is None else sum(value.nbytes for value in self.network.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """Weights and known outputs."""
        return {"known": self.known.clone(), "network": None if self.network is None else self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any], like: nn.Module) -> None:
        """Go on from a state; the network is built as `like` is."""
        self.known, self.network = state["known"].clone(), None
        if state["network"] is not None:
            self.network = deepcopy(like).requires_grad_(False).eval()
            self.network.load_state_dict(state["network"])


@contextmanager
def outputs_kept(network: nn.Module, x: Tensor) -> Iterator[list[Tensor]]:
    """Collect what `network` makes of `x` in the body, which computes it anyway; the list may stay empty."""
    kept: list[Tensor] = []

    def keep(network: nn.Module, args: tuple[Tensor, ...], outputs: Tensor) -> None:
        if args[0] is x:
            kept.append(outputs)

    handle = network.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


@dataclass
class Distilling(LightningMethod):
    """Keep a copy of the network at the end of each task, as the teacher of the next one.

    Attributes that a subclass may use:
        teacher: The copy, and the classes that it has been trained on.
        current: The classes of the phase that is being trained (K,), bool, on the CPU.
    """

    target = ClassIncrementalSetting

    def configure(self, setting: Setting) -> None:
        """Build the network; there is nothing to learn from yet."""
        super().configure(setting)
        n_outputs = int(setting.action_space.n)  # type: ignore[attr-defined]
        self.teacher = Teacher(n_outputs, self.flops)
        self.current = torch.zeros(n_outputs, dtype=torch.bool)

    def fit(self, phase: Phase) -> None:
        """Train on one phase."""
        self.current = self.classes_of(phase)
        super().fit(phase)

    def classes_of(self, phase: Phase) -> Tensor:
        """Which classes a phase is about (K,), bool, on the CPU.

        Under blurry boundaries a few samples of other tasks come in. Their classes are not those of the phase.
        """
        assert phase.task_classes is not None
        tasks = list(phase.task_classes)
        if phase.task_id is not None and phase.task_id in tasks and not self.setting.assumptions.past_accessible:
            tasks = [phase.task_id]
        there = torch.zeros_like(self.current)
        for task in tasks:
            there[list(phase.task_classes[task])] = True
        return there

    def on_task_end(self, task_id: int | None) -> None:
        """Keep the network as the next task's teacher."""
        super().on_task_end(task_id)
        self.keep_teacher()

    def keep_teacher(self) -> None:
        """Copy the network, which has been trained on the classes of the phase."""
        self.teacher.copy(self.network, self.current)

    def never_acted(self) -> str | None:
        """What earlier tasks left behind needs a task that is over."""
        if self.phase_count < 2:
            return "Nothing of earlier tasks was kept up: that begins with the second phase, and this run has only one."
        return super().never_acted()

    def state_dict(self) -> dict[str, Any]:
        """The network's state and the teacher's."""
        return super().state_dict() | {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and teacher."""
        super().load_state_dict(state)
        self.teacher.load_state_dict(state["teacher"], self.network)

    def costs(self) -> dict[str, Any]:
        """The costs of training; the teacher counts as buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.teacher.nbytes}


@dataclass
class SoftmaxDistilling(Distilling):
    """Measure how far the network is from its teacher, on the outputs that the teacher has been trained on.

    Where ids are given at test, each task's outputs compete among themselves only; so they have a softmax of their own
    here, and the distances of all earlier tasks are summed up.
    """

    temperature: float = 2.0  # of the softmax that is distilled
    divergence: str = "kl"  # what is distilled by: kl (Kullback-Leibler) or js (Jensen-Shannon)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "temperature", 0.01)
        check_choice(self, "divergence", DIVERGENCES)

    def fit(self, phase: Phase) -> None:
        """Train on one phase."""
        self.groups = self.taught_groups()
        super().fit(phase)

    def taught_groups(self) -> list[Tensor]:
        """The outputs (k,) that share a softmax, of all that the teacher has been trained on."""
        known = self.teacher.known
        groups = self.heads.outputs() & known if self.heads.active else known[None]
        return [group.nonzero()[:, 0].to(self.device) for group in groups if group.any()]

    def loss_and_distance(self, batch: Batch, loss: Callable[[Batch], Tensor]) -> tuple[Tensor, Tensor | None]:
        """What `loss` makes of an augmented batch, and the mean distance from the teacher on it, both scalars.

        The network's outputs are read off its forward pass for the loss. There is no distance in the first task.
        """
        if self.teacher.network is None:
            return loss(batch), None
        with outputs_kept(self.network, batch.x) as kept:
            value = loss(batch)
        outputs = kept[0] if kept else self.network(batch.x)
        return value, self.distances(outputs, self.teacher(batch.x)).mean()

    def distances(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """How far each sample's outputs (B, K) are from the teacher's (B, K): (B,)."""
        divergence = DIVERGENCES[self.divergence]
        parts = [divergence(outputs[:, group], taught[:, group], self.temperature) for group in self.groups]
        return torch.stack(parts).sum(0)

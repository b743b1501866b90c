"""The network as earlier tasks left it, which later tasks learn from."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.checks import check_choice, check_range
from redwood.core.state import State
from redwood.methods.distillation.losses import DIVERGENCES
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.flops import FlopMeter
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting

NO_EARLIER_TASK = "Nothing was distilled: distillation starts in the second phase, and this run has only one."
ONE_TEACHER = {"teacher": "as each learns from the old network by a loss of its own"}


class Teacher:
    """A frozen copy of a network, and a mask of the outputs that it was trained on.

    Attributes:
        known: The outputs that the copy has been trained on (K,), bool, on the CPU.
        current: The classes of the phase that is being trained (K,), bool, on the CPU.
        copy: The copy, in evaluation mode; None as long as no task has ended.
    """

    def __init__(self, network: nn.Module, n_outputs: int, flops: FlopMeter) -> None:
        """Know nothing yet.

        Args:
            network: The network that will be copied.
            n_outputs: Its number of outputs K.
            flops: Counts the computations of the copy.
        """
        self.known = torch.zeros(n_outputs, dtype=torch.bool)
        self.current = torch.zeros(n_outputs, dtype=torch.bool)
        self.copy: nn.Module | None = None
        self._network, self._flops = network, flops

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (B, K) of samples (B, ...), without a gradient."""
        assert self.copy is not None
        self._flops.note(len(x))
        outputs: Tensor = self.copy(x)
        return outputs

    def begin(self, phase: Phase, *, past_accessible: bool) -> None:
        """Note the classes of a phase.

        Under blurry boundaries a few samples of other tasks come in. Their classes are not those of the phase, unless
        the setting keeps the data of earlier tasks accessible.
        """
        assert phase.task_classes is not None
        self.current = torch.zeros_like(self.known)
        self.current[classes_of(phase.task_id, phase.task_classes, past_accessible=past_accessible)] = True

    def learn_classes(self) -> None:
        """Count the classes of the phase as known."""
        self.known = self.known | self.current

    def learn(self) -> None:
        """Copy the network, which has been trained on the classes of the phase."""
        self.learn_classes()
        self.copy = deepcopy(self._network).requires_grad_(False).eval()

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        return 0 if self.copy is None else sum(value.nbytes for value in self.copy.state_dict().values())

    def state_dict(self) -> State:
        """Weights, known outputs, and classes of the phase."""
        return {
            "known": self.known.clone(),
            "current": self.current.clone(),
            "network": None if self.copy is None else self.copy.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from a state of a network with the same shapes; the copy is made anew from the network."""
        self.known, self.current, self.copy = state["known"].clone(), state["current"].clone(), None
        if state["network"] is not None:
            self.copy = deepcopy(self._network).requires_grad_(False).eval()
            self.copy.load_state_dict(state["network"])


def classes_of(task_id: int | None, task_classes: Mapping[int, tuple[int, ...]], *, past_accessible: bool) -> list[int]:
    """The classes of a phase that trains `task_id`, or several tasks (None); see `Teacher.begin`."""
    if task_id is not None and task_id in task_classes and not past_accessible:
        return list(task_classes[task_id])
    return [label for classes in task_classes.values() for label in classes]


@dataclass
class Distilling(LightningMethod):
    """Measure how far the network is from its teacher, the network at the end of the task before.

    The distance is measured on the outputs that the teacher has been trained on. Where ids are given at test, each
    task's outputs compete among themselves only. So they have a softmax of their own here, and the distances of all
    earlier tasks are summed up.

    Attributes that a subclass may use:
        teacher: The copy, and the classes that it has been trained on.
    """

    target = ClassIncrementalSetting
    brings: ClassVar[frozenset[str]] = frozenset({"teacher"})
    bars: ClassVar[Mapping[str, str]] = ONE_TEACHER

    temperature: float = 2.0  # temperature of the softmax that is distilled
    divergence: str = "kl"  # divergence that distillation minimises: kl (Kullback-Leibler) or js (Jensen-Shannon)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "temperature", 0.01)
        check_choice(self, "divergence", DIVERGENCES)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        teacher = Teacher(self.network, self.n_outputs, self.flops)
        self.teacher = self.add_state("teacher", teacher, buffer=True)

    @override
    def before_training(self, phase: Phase) -> None:
        self.teacher.begin(phase, past_accessible=self.setting.assumptions.past_accessible)
        self.groups = self.taught_groups()
        super().before_training(phase)

    def taught_groups(self) -> list[Tensor]:
        """Groups (k,) of the teacher's outputs that share one softmax."""
        known = self.teacher.known
        groups = self.heads.outputs() & known if self.heads.active else known[None]
        return [group.nonzero()[:, 0].to(self.device) for group in groups if group.any()]

    def distance(self, step: Step) -> Tensor | None:
        """The mean distance (scalar) of the network from its teacher on `step.batch`; None in the first task."""
        if self.teacher.copy is None:
            return None
        distances = self.distances(self.outputs(step), self.teacher(step.batch.x))
        return step.weigh(distances).mean()

    def distances(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return the distance (B,) of each sample's outputs (B, K) from the teacher's (B, K)."""
        divergence = DIVERGENCES[self.divergence]
        parts = [divergence(outputs[:, group], taught[:, group], self.temperature) for group in self.groups]
        return torch.stack(parts).sum(0)

    @override
    def on_task_end(self, task_id: int | None) -> None:
        super().on_task_end(task_id)
        self.teacher.learn()

    @override
    def never_acted(self) -> str | None:
        return NO_EARLIER_TASK if self.phase_count < 2 else super().never_acted()

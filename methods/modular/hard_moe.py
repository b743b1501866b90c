"""Hard mixtures of experts (Gross, Ranzato & Szlam, 2017).

"Hard Mixtures of Experts for Large Scale Weakly Supervised Vision".
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed, preserved_random_state, seed_everything
from redwood.core.state import State, count_bytes
from redwood.methods.lightning import LightningMethod
from redwood.methods.modular.mixture import HardMixture
from redwood.methods.streaming.backbone import Backbone, make_backbone
from redwood.methods.training.layers import set_dropout
from redwood.methods.training.step import Step
from redwood.settings.assumptions import Context
from redwood.settings.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting

STATIONARY_EXPERTS = 8
# The features of the gate are trained in this share of the first phase.
WARM_UP = 0.1


@dataclass
class HardMoE(LightningMethod):
    """A k-means gate assigns each sample to an expert, and each expert is trained on its own samples (sections 3, 4).

    The expert of the nearest prototype answers for a sample, whatever its task. Each phase adds experts and their
    prototypes, and leaves the earlier ones unchanged. So only the gate can confuse tasks. No sample is kept after its
    phase.

    The prototypes are placed once the features of enough samples have come. Until then the first new expert learns from
    all samples; then the others start from its weights. Mini-batch k-means moves the prototypes until the end of the
    pass. The paper clusters and trains one after the other, on a fixed data set.
    """

    target = ClassIncrementalSetting

    experts: int = 0  # experts that each phase adds (0: one where a phase brings a task, else 8)
    prototypes: int = 4  # prototypes of the gate for each expert
    splits: int = 0  # times that a phase splits its most loaded expert in two, evenly spaced
    backbone: Any = "identity"  # features that the gate goes by: identity (scaled input), a network by name, or trained
    backbone_weights: str = ""  # file with the state dict of a network given by name (default: random weights)
    gate_samples: int = 256  # samples of a phase whose features are kept aside until the gate is placed

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "experts", 0)
        check_range(self, "prototypes", 1)
        check_range(self, "splits", 0)
        check_range(self, "gate_samples", 1)
        if self.splits and self.prototypes < 2:
            raise InvalidOptionError(f"--splits {self.splits} needs experts with at least 2 --prototypes.")
        if self.optimizer_state == "keep":
            raise InvalidOptionError("--optimizer_state keep means nothing to new experts; use reset.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._add = self.experts or (STATIONARY_EXPERTS if setting.assumptions.context == Context.STATIONARY else 1)
        self._batch = setting.batch_size * setting.workers
        mixture = HardMixture(self._make_backbone(setting)).to(self.device)
        self.module = self.make_module(mixture)
        self.growths = self.add_state("growths", 0)  # phases that have added experts
        self.tasks_of: list[list[int]] = self.add_state("tasks_of", [])  # of each expert
        # Of this phase: steps, splits, whether the prototypes are placed, and features kept aside until then.
        self.steps = self.add_state("steps", 0)
        self.n_splits = self.add_state("n_splits", 0)
        self.placed = self.add_state("placed", False)
        self.aside: list[Tensor] = self.add_state("aside", [])
        self.most_aside = self.add_state("most_aside", 0)  # bytes of the features in the phase with the most of them
        self._grow()

    @property
    def mixture(self) -> HardMixture:
        """The network, with its type."""
        assert isinstance(self.network, HardMixture)
        return self.network

    def _make_backbone(self, setting: SupervisedSetting) -> Backbone:
        space = setting.observation_space
        if self.backbone == "trained":
            if self.backbone_weights:
                raise InvalidOptionError("--backbone_weights is for a network given by name; leave it out.")
            return Backbone(deepcopy(self.network), space, before_last_layer=True)
        return make_backbone(self.backbone, self.backbone_weights, space, setting.seed)

    def _start_gate(self) -> None:
        self.steps = self.n_splits = 0
        self.placed, self.aside = False, []

    def _grow(self) -> None:
        first = len(self.mixture.experts)
        fresh = [self._new_expert(first + number) for number in range(self._add + self.splits)]
        self.mixture.grow(fresh, [self.prototypes] * self._add + [0] * self.splits)
        self.tasks_of += [[] for _ in fresh]
        self.growths += 1

    def _new_expert(self, number: int) -> nn.Module:
        with preserved_random_state():
            seed_everything(self.setting.seed, "expert", number)
            expert = self.make_network()
        set_dropout(expert, self.dropout)
        return expert.to(self.device)

    @property
    @override
    def may_skip_parameters(self) -> bool:
        return self._add + self.splits > 1

    @override
    def fit(self, phase: Phase) -> None:
        if self.phase_count:
            self.mixture.freeze()
            self._grow()
        for tasks in self.tasks_of[self.mixture.n_frozen :]:
            tasks[:] = phase.task_classes or {}
        self._start_gate()
        super().fit(phase)

    @override
    def losses(self, step: Step) -> Tensor:
        self._guide(step.batch.x)
        losses = super().losses(step)
        choice = self.mixture.choice
        # The mean over the batch is then a sum over experts of the mean over each one's samples.
        return losses * len(losses) / torch.bincount(choice)[choice]

    def _guide(self, x: Tensor) -> None:
        """What the gate does before this step: train its features, place or move its prototypes, split experts."""
        step, self.steps = self.steps, self.steps + 1
        start, per_pass = 0, self.phase.train.steps_per_pass
        if self.backbone == "trained" and not self.phase_count:
            start = max(1, int(WARM_UP * self.phase.steps))
            if step == start:
                self.mixture.backbone.network.load_state_dict(self.mixture.experts[0].state_dict())
        if start <= step < start + per_pass:
            features = self.mixture.backbone(x)
            self.mixture.move(features)
            if not self.placed:
                self.aside.append(features)
                if step - start + 1 >= min(-(-self.gate_samples // self._batch), -(-per_pass // 2)):
                    self._place()
        if self.n_splits < self.splits and self.placed:
            due = self.phase.steps * (self.n_splits + 1) // (self.splits + 1)
            if step >= due:
                self._split()

    def _place(self) -> None:
        aside = torch.cat(self.aside)
        self.most_aside = max(self.most_aside, aside.nbytes)
        self.mixture.place(aside, derive_seed(self.setting.seed, "gate", self.phase_count))
        teacher, *others = self.mixture.experts[self.mixture.n_frozen :]
        for expert in others[: self._add - 1]:
            expert.load_state_dict(teacher.state_dict())
        self.aside, self.placed = [], True

    def _split(self) -> None:
        spare = len(self.mixture.experts) - self.splits + self.n_splits
        self.mixture.split(spare, derive_seed(self.setting.seed, "split", self.phase_count, self.n_splits))
        self.n_splits += 1

    @override
    def forward(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        # Where ids are given at test, by experts that were trained on the task, if there are any.
        if task_id is None or not self.heads.active:
            outputs: Tensor = self.network(x)
            return outputs
        known = torch.tensor([[task in tasks for tasks in self.tasks_of] for task in range(int(task_id.max()) + 1)])
        known |= ~known.any(1, keepdim=True)
        routed: Tensor = self.network(x, known.to(x.device)[task_id])
        return routed

    @override
    def load_state_dict(self, state: State) -> None:
        while self.growths < state["growths"]:
            self._grow()
        super().load_state_dict(state)
        self.mixture.n_frozen = len(self.mixture.experts) - self._add - self.splits

    @override
    def costs(self) -> dict[str, Any]:
        mixture, costs = self.mixture, super().costs()
        gate = count_bytes([mixture.prototypes, mixture.counts, mixture.owner])
        return costs | {"buffer_bytes": costs["buffer_bytes"] + gate + self.most_aside}

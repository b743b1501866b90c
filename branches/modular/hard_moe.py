"""Hard mixtures of experts (Gross, Ranzato & Szlam, 2017).

"Hard Mixtures of Experts for Large Scale Weakly Supervised Vision".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.modular.editable_mixture import EditableMixture
from redwood.branches.modular.expert import Shard, steps_of
from redwood.core.checks import check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed
from redwood.core.state import State, count_bytes
from redwood.core.workers import sum_over_workers
from redwood.methods.training.step import Step
from redwood.settings.assumptions import Context
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting

STATIONARY_EXPERTS = 8
# The features of the gate are trained in this share of the first phase.
WARM_UP = 0.1


@dataclass
class HardMoE(EditableMixture):
    """A k-means gate assigns each sample to an expert, and each expert is trained on its own samples (sections 3, 4).

    The expert of the nearest prototype answers for a sample, whatever its task. Each phase adds experts and their
    prototypes, and leaves the earlier ones unchanged. So only the gate can confuse tasks. No sample is kept after its
    phase.

    The prototypes are placed once the features of enough samples have come. Until then the first new expert learns from
    all samples; then the others start from its weights. Mini-batch k-means moves the prototypes until the end of the
    pass. The paper clusters and trains one after the other, on a fixed data set.

    With `expert_processes` it is done as in the paper. The samples of a phase are read first, and kept until its end.
    The gate is placed by k-means of all of them. Then each expert is trained on its samples alone, in batches of its
    own. The result does not depend on the number of processes.

    An expert underfits if it gets too many of its own training samples wrong. Splitting the one with the most errors
    gives more weights to the region where the mixture loses most. An expert with few samples is not chosen for a few
    errors.
    """

    target = ClassIncrementalSetting
    brings: ClassVar[frozenset[str]] = frozenset({"experts"})
    bars: ClassVar[Mapping[str, str]] = {"importance": "as no later task trains an expert again"}

    experts: int = 0  # experts that each phase adds (0: one if a phase is a task, else 8)
    expert_models: list[str] = field(default_factory=list)  # networks of the experts, in turn (default: --model)
    prototypes: int = 4  # prototypes of the gate for each expert
    splits: int = 0  # times that a phase may split an expert that underfits in two, evenly spaced
    split_below: float = 0.9  # accuracy on its own training samples below which an expert underfits
    min_load: float = 0.0  # share of a phase's samples below which a new expert is removed when the phase ends
    backbone: Any = "identity"  # features that the gate uses: identity (scaled input), a network by name, or trained
    backbone_weights: str = ""  # file with the state dict of a network given by name (default: random weights)
    gate_samples: int = 256  # samples of a phase whose features are kept aside until the gate is placed
    expert_processes: int = 0  # processes that train experts side by side, apart (0: together, batch by batch)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "experts", 0, 10_000)
        check_range(self, "splits", 0, 10_000)
        check_range(self, "split_below", 0, 1)
        check_range(self, "min_load", 0, 1)
        check_range(self, "gate_samples", 1)
        check_range(self, "expert_processes", 0, 1024)
        if self.splits and self.prototypes < 2:
            raise InvalidOptionError(f"--splits {self.splits} needs experts with at least 2 --prototypes.")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._add = self.experts or (STATIONARY_EXPERTS if setting.assumptions.context == Context.STATIONARY else 1)
        self._batch = setting.batch_size * setting.workers
        if self.expert_processes:
            self._check_apart(setting)
        # Of this phase: steps, checks for experts to split, whether the prototypes are placed, features until then.
        self.steps = self.add_state("steps", 0)
        self.n_checks = self.add_state("n_checks", 0)
        self.placed = self.add_state("placed", False)
        self.aside: list[Tensor] = self.add_state("aside", [])
        # Of each expert since the last check: training samples, and how many of them it got wrong (n_experts,).
        self.n_shown = self.add_state("n_shown", torch.zeros(0, device=self.device))
        self.n_wrong = self.add_state("n_wrong", torch.zeros(0, device=self.device))
        self.most_aside = self.add_state("most_aside", 0)  # bytes kept aside in the phase with the most of them
        self._start_phase()

    def _check_apart(self, setting: SupervisedSetting) -> None:
        """Refuse settings and options that do not work where experts are trained apart."""
        option = f"--expert_processes {self.expert_processes}"
        if setting.workers > 1:
            raise InvalidOptionError(f"{option} starts processes of its own; use --workers 1.")
        if self.patience:
            raise InvalidOptionError(
                f"{option} trains experts without held-out samples, which --patience {self.patience} watches; leave "
                "one of the two out."
            )
        if setting.assumptions.passes.high == 1:
            raise InvalidOptionError(
                f"{option} keeps the samples of a phase until it ends, where one pass allows none; leave it out."
            )
        known = [cls for cls in type(self).__mro__ if issubclass(cls, HardMoE) or cls in HardMoE.__mro__]
        others = [cls for cls in type(self).__mro__ if cls not in known]
        if others:
            raise InvalidOptionError(
                f"{option} trains experts alone, without what {others[0].__name__} adds; leave one of the two out."
            )

    def _start_phase(self) -> None:
        """Add the experts of a phase, and as many of each architecture as splits may need; forget the phase before."""
        chosen = [self._architecture_of(self.n_made + number) for number in range(self._add)]
        spare = [architecture for architecture in sorted(set(chosen)) for _ in range(self.splits)]
        self.grow(chosen + spare, [self.prototypes] * self._add + [0] * len(spare))
        self.steps = self.n_checks = 0
        self.placed, self.aside = False, []
        self._forget_errors()

    def _forget_errors(self) -> None:
        self.n_shown, self.n_wrong = torch.zeros(2, len(self.mixture.experts), device=self.device)

    @property
    @override
    def may_skip_parameters(self) -> bool:
        return self._add + self.splits > 1

    @override
    def fit(self, phase: Phase) -> None:
        if self.phase_count:
            self.mixture.freeze()
            self._start_phase()
        for tasks in self.tasks_of[self.mixture.n_frozen :]:
            tasks[:] = phase.task_classes or {}
        self.fits = True
        try:
            if self.expert_processes:
                self._fit_apart(phase)
            else:
                super().fit(phase)
        finally:
            self.fits = False
        self._drop_idle()

    def _drop_idle(self) -> None:
        """Drop experts of this phase that no split has used, or that too few samples go to; the busiest one stays."""
        mixture = self.mixture
        loads, own = mixture.loads(), mixture.owner.unique().tolist()
        loads[: mixture.n_frozen] = 0
        least = self.min_load * float(loads.sum())
        for number in reversed(range(mixture.n_frozen, len(mixture.experts))):
            if number not in own or (float(loads[number]) < least and number != int(loads.argmax())):
                self.drop(number)

    # Experts are trained together, batch by batch.

    @override
    def losses(self, step: Step) -> Tensor:
        self._guide(step.batch.x)
        losses = super().losses(step)
        choice = self.mixture.choice
        if self.splits:
            self._count_errors(step)
        # The mean over the batch is then a sum over experts of the mean over each one's samples.
        return losses * len(losses) / torch.bincount(choice)[choice]

    def _count_errors(self, step: Step) -> None:
        wrong = (self.scores(step).argmax(1) != step.batch.y).to(self.n_wrong)
        self.n_shown.index_add_(0, self.mixture.choice, torch.ones_like(wrong))
        self.n_wrong.index_add_(0, self.mixture.choice, wrong)

    def _guide(self, x: Tensor) -> None:
        """Update the gate before this step: train its features, place or move its prototypes, split experts."""
        step, self.steps = self.steps, self.steps + 1
        start, per_pass = 0, self.phase.train.steps_per_pass
        if self.backbone == "trained" and not self.phase_count:
            start = min(max(1, int(WARM_UP * self.phase.steps)), self.phase.steps - 1)
            if step == start:
                self.mixture.backbone.network.load_state_dict(self.mixture.experts[0].state_dict())
        if start <= step < start + per_pass:
            features = self.mixture.backbone(x)
            self.mixture.move(features)
            if not self.placed:
                self.aside.append(features)
                if step - start + 1 >= min(-(-self.gate_samples // self._batch), -(-per_pass // 2)):
                    self._place(torch.cat(self.aside))
        if self.n_checks < self.splits and self.placed:
            due = self.phase.steps * (self.n_checks + 1) // (self.splits + 1)
            if step >= due:
                self._check_fit()

    def _place(self, features: Tensor) -> None:
        self.most_aside = max(self.most_aside, features.nbytes)
        self.mixture.place(features, derive_seed(self.setting.seed, "gate", self.phase_count))
        first = self.mixture.n_frozen
        for number in range(first + 1, first + self._add):
            if self.architectures[number] == self.architectures[first]:
                self.mixture.experts[number].load_state_dict(self.mixture.experts[first].state_dict())
        self.aside, self.placed = [], True

    def _check_fit(self) -> None:
        """Split the expert with the most errors since the last check, among those that underfit."""
        mixture = self.mixture
        shown, wrong = sum_over_workers(torch.stack([self.n_shown, self.n_wrong]).cpu())
        underfits = mixture.can_split() & (wrong > (1 - self.split_below) * shown)
        underfits[: mixture.n_frozen] = False
        if underfits.any():
            parent = int(wrong.masked_fill(~underfits, -1).argmax())
            self._split(parent)
        self.n_checks += 1
        self._forget_errors()

    def _split(self, parent: int) -> None:
        """Split an expert between it and one of its architecture that has no prototypes yet."""
        own = self.mixture.owner.unique().tolist()
        spare = next(
            number
            for number in range(self.mixture.n_frozen + self._add, len(self.architectures))
            if number not in own and self.architectures[number] == self.architectures[parent]
        )
        self.mixture.split(parent, spare, derive_seed(self.setting.seed, "split", self.phase_count, self.n_checks))

    # Experts are trained apart.

    def _fit_apart(self, phase: Phase) -> None:
        """Read the phase, place the gate, and train each expert on its samples; between parts, split experts."""
        self.heads.learn(phase.task_classes)
        with self.flops.count():
            samples = self._read(phase)
        first, begin = self.mixture.n_frozen, 0.0
        if self.backbone == "trained" and not self.phase_count:
            begin = max(WARM_UP, 1 / steps_of(len(samples), self._batch, phase.train.passes))
            self.teach({first: samples}, phase.task_classes, share=(0.0, begin))
            self.mixture.backbone.network.load_state_dict(self.mixture.experts[first].state_dict())
        features = self.features_of(samples)
        self._place(features)
        self.most_aside = max(self.most_aside, samples.nbytes + features.nbytes)
        optimizers: dict[int, State | None] = {}
        for part in range(self.splits + 1):
            choice = self.mixture.owner[self.mixture.nearest(features)].cpu()
            shards = {number: samples[choice == number] for number in choice.unique().tolist()}
            learned = self.teach(
                shards,
                phase.task_classes,
                processes=self.expert_processes,
                part=(part, self.splits + 1),
                share=(begin, 1.0),
                optimizers=optimizers,
            )
            if part < self.splits:
                for number, one in learned.items():
                    self.n_shown[number], self.n_wrong[number] = len(shards[number]), one.n_wrong
                    optimizers[number] = one.optimizer
                self._check_fit()
        self.phase_count += 1

    def _read(self, phase: Phase) -> Shard:
        """Return all samples of the phase, once each; their predictions are scored before any sample is learned."""
        batches = []
        for batch in phase.train:
            if batch.first_pass:
                scores = self.predict(batch.x, batch.task_id if self.heads.active else None)
                phase.score(scores.argmax(1), batch)
                batches.append(batch)
        ids = [batch.task_id for batch in batches if batch.task_id is not None]
        x, y = torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])
        return Shard(x, y, torch.cat(ids) if ids else None)

    @override
    def costs(self) -> dict[str, Any]:
        mixture, costs = self.mixture, super().costs()
        gate = count_bytes([mixture.prototypes, mixture.counts, mixture.owner])
        return costs | {"buffer_bytes": costs["buffer_bytes"] + gate + self.most_aside}

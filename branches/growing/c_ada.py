"""C-ADA, a continual adapter (Gao et al., 2024, "Beyond Prompt Learning")."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from redwood.branches.growing.adapted import AdaptedNetwork, Column
from redwood.core.checks import check_positive, check_range
from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.core.workers import sum_over_workers
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.layers import evaluating, set_dropout, without_warning_of_frozen_parts
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.tree import ClassIncrementalSetting


@dataclass
class CAda(LightningMethod):
    """Train a column of an adapter for each task, beside a frozen network; earlier columns are frozen (section 3).

    The column's down-projection, ReLU and up-projection work in parallel to the last feature layer; see
    `AdaptedNetwork`. The loss is the cross-entropy among the classes of the task, plus `orthogonality` times the
    overlap of the column with earlier ones. Scale and shift of the features are trained with the first column, and then
    frozen. No sample is stored, and the scores of a column never change.

    The network is trained on the first `extractor_tasks` tasks. With 0 it is taken as it is: pretrained weights come
    from a module given as `model`, or from `weights`.

    Differences from the paper: the network is any network instead of a vision transformer. So the adapter has one place
    instead of one in each block. Scores are cosines: without samples of old classes, nothing else would make scores of
    different columns comparable. The row of a class starts as the mean of its features in the first mini-batch that
    shows it.
    """

    target = ClassIncrementalSetting
    composition: ClassVar[Composition] = Composition.NEVER  # the loss knows the classes of the phase alone

    # number of first tasks that train the feature extractor; later tasks train columns (0: all)
    extractor_tasks: int = 1
    column_width: int = 16  # units of each column, between its two projections
    orthogonality: float = 1.0  # weight of the overlap of new and old columns in the loss
    cosine_scale: float = 10.0  # factor of the cosines that are the scores

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "extractor_tasks", 0)
        check_range(self, "column_width", 1, 1_000_000)
        check_range(self, "orthogonality", 0)
        check_positive(self, "cosine_scale")
        if self.optimizer_state == "keep":
            raise InvalidOptionError(
                "--optimizer_state keep does not go with c_ada, which trains other weights in each task; use reset."
            )

    @override
    def make_network(self) -> nn.Module:
        space = self.setting.observation_space
        return AdaptedNetwork(super().make_network(), space, self.n_outputs, self.cosine_scale)

    @property
    def adapted(self) -> AdaptedNetwork:
        """The network with its columns, which `make_network` has made."""
        assert isinstance(self.network, AdaptedNetwork)
        return self.network

    @override
    def fit(self, phase: Phase) -> None:
        assert phase.task_classes is not None  # ids are shown in training
        # Under blurry boundaries, those of other tasks are among them.
        classes = sorted({label for labels in phase.task_classes.values() for label in labels})
        if self.phase_count < self.extractor_tasks:
            self.adapted.train_extractor(classes)
        else:
            self._add_column(torch.tensor(classes))
        self._classes = torch.tensor(classes, device=self.device)
        with without_warning_of_frozen_parts():
            super().fit(phase)

    def _add_column(self, classes: Tensor) -> None:
        with preserved_random_state():
            seed_everything(self.setting.seed, "column", self.phase_count)
            column = self.adapted.add(classes.to(self.device), self.column_width)
        set_dropout(column, self.dropout)
        self.flops.start_anew()

    @override
    def loss(self, step: Step) -> Tensor:
        """Cross-entropy among the classes of the phase, and the overlap of the new column with earlier ones."""
        scores = self.scores(step)[:, self._classes]
        losses = F.cross_entropy(scores, torch.searchsorted(self._classes, step.batch.y), reduction="none")
        step.losses = losses.detach()
        loss = step.weigh(losses).mean()
        return loss + self.orthogonality * self.adapted.overlap() if len(self.adapted.columns) > 1 else loss

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        column = self.adapted.latest
        if column is not None and not column.started.all():
            self._start_rows(column, step)

    @torch.no_grad()
    def _start_rows(self, column: Column, step: Step) -> None:
        """Set the rows of classes that have turned up for the first time to the mean of their features."""
        x, y = step.incoming.x, step.incoming.y
        with self.flops.count(), evaluating(self.network):
            *_, adapted = self.adapted.adapted(*self.adapted.features(x))
        shown = (y[:, None] == column.classes).to(adapted.dtype)
        sums = sum_over_workers((shown.T @ F.normalize(adapted)).cpu()).to(self.device)
        counts = sum_over_workers(shown.sum(0).cpu()).to(self.device)
        new = (counts > 0) & ~column.started
        column.rows.weight[new] = sums[new] / counts[new, None]
        column.started |= new

    @override
    def load_state_dict(self, state: State) -> None:
        self.adapted.load_columns(state["network"])
        super().load_state_dict(state)

    @override
    def never_acted(self) -> str | None:
        if self.adapted.latest is None:
            return (
                f"No column was added: --extractor_tasks {self.extractor_tasks} leaves no task of this run for one, "
                "and columns are all that stays as it was learned."
            )
        return super().never_acted()

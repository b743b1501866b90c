"""Outputs that are used again when a class splits, or when classes merge."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.workers import sum_over_workers
from redwood.methods.base import Composition
from redwood.methods.distillation.teacher import classes_of
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import CHUNK, output_layer
from redwood.methods.training.layers import evaluating
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ClassIncrementalSetting


@dataclass
class ReuseOutputs(LightningMethod):
    """Start the output of each new class from the outputs of the old classes that its samples were taken for.

    w_new = sum over old classes of share * w_old, and so the bias. The share counts the previewed samples of the new
    class that the network takes for the old class, before it is trained on any of them. If a class splits, each part
    gets a copy of its row; if classes merge, the new class gets the mean of theirs. A class that is like no old one
    starts from those that it is mistaken for. Where ids are given at test, a split gains nothing: its parts compete
    with each other alone, and start equal.

    It looks at samples before they are trained on (`phase.train.preview`), so each has to be presented several times.
    It goes with other methods, as in `reuse_outputs+rehearsal`.

    Attributes:
        known: Mask of the classes that earlier tasks have shown (K,), bool.
        n_reused: Number of outputs that were started from others.
    """

    target = ClassIncrementalSetting
    requires: ClassVar[frozenset[str]] = frozenset({"many_passes"})
    composition: ClassVar[Composition] = Composition.ANYWHERE

    preview_samples: int = 500  # samples of a new task that each worker looks at

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "preview_samples", 1)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self._reused_layer = output_layer(self.network, setting.observation_space, "reuse_outputs sets")
        self.known = self.add_state("known", torch.zeros(self.n_outputs, dtype=torch.bool))
        self.n_reused = self.add_state("n_reused", 0)

    @override
    def fit(self, phase: Phase) -> None:
        assert phase.task_classes is not None  # ids are shown in training
        accessible = self.setting.assumptions.past_accessible
        current = torch.zeros_like(self.known)
        current[classes_of(phase.task_id, phase.task_classes, past_accessible=accessible)] = True
        if self.known.any() and (current & ~self.known).any():
            self._start_outputs(phase, current & ~self.known)
        super().fit(phase)
        self.known = self.known | current

    @torch.no_grad()
    def _start_outputs(self, phase: Phase, new: Tensor) -> None:
        """Set the rows of the classes that are new (K,), bool; those without a previewed sample stay as they are."""
        counts = self._taken_for(phase)
        rows = (new & (counts.sum(1) > 0)).nonzero()[:, 0]
        shares = counts[rows] / counts[rows].sum(1, keepdim=True)
        weight, bias = self._reused_layer.weight, self._reused_layer.bias
        shares = shares.to(weight)
        weight[rows], bias[rows] = shares @ weight, shares @ bias
        self.n_reused += len(rows)

    def _taken_for(self, phase: Phase) -> Tensor:
        """Count, over all workers, the previewed samples of each class taken for each known class (K, K)."""
        samples = phase.train.preview(self.preview_samples)
        with self.flops.count("selection"), evaluating(self.network):
            outputs = torch.cat([self.network(chunk) for chunk in samples.x.to(self.device).split(CHUNK)]).cpu()
        answers = outputs.masked_fill(~self.known, -torch.inf).argmax(1)
        pairs = torch.bincount(samples.y * self.n_outputs + answers, minlength=self.n_outputs**2)
        return sum_over_workers(pairs.view(self.n_outputs, self.n_outputs).float())

    @override
    def never_acted(self) -> str | None:
        if self.n_reused:
            return super().never_acted()
        return "No output was used again: no task after the first one had a class that was new."

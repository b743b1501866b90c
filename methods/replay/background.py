"""Background samples as a negative class: training also shows what belongs to no class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.checks import check_positive
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.step import Step
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting


@dataclass
class Background(LightningMethod):
    """Add samples of `--background` to each step, as a negative class that is never predicted.

    The softmax of K + 1 classes stays the same if all scores are shifted, so the score of the negative class can be
    fixed at 0. With the K scores z of the network and S = log sum exp z, its cross-entropy is

        CE(z, y) + log(1 + exp(-S))    of a sample of class y, where CE is the cross-entropy of K classes,
        log(1 + exp(S))                of a background sample.

    The network and its predictions keep K outputs, and any loss may stand in the place of CE. Auxiliary samples against
    sure answers for unknown ones are from Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure" (2019).
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE
    uses_background: ClassVar[bool] = True

    background_ratio: float = 1.0  # background samples for each sample that is trained on, new or replayed

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "background_ratio")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.background_seen = self.add_state("background_seen", 0)

    @override
    def loss(self, step: Step) -> Tensor:
        loss, background = super().loss(step), self.phase.background
        if background is None:
            return loss
        n, batch = max(1, round(self.background_ratio * len(step.batch.y))), step.batch
        x = background.draw(n).to(self.device)
        # Where ids are given at test, the scores of one task compete: background samples turn up in all of the batch.
        ids = None if batch.task_id is None else batch.task_id[torch.arange(n, device=x.device) % len(batch.y)]
        self.background_seen += n
        known, unknown = self.scores(step).logsumexp(1), self.logits(x, ids).logsumexp(1)
        return loss + step.weigh(F.softplus(-known)).mean() + F.softplus(unknown).sum() / len(batch.y)

    @override
    def never_acted(self) -> str | None:
        if not self.background_seen:
            return "No background sample was ever shown; name a data set, such as --background prototypes."
        return super().never_acted()

"""Background samples as a negative class: training also shows samples of no class."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.branches.background.samples import BackgroundSamples, background_like, digest_of
from redwood.core.checks import check_positive
from redwood.core.errors import DataError, InvalidOptionError
from redwood.core.state import State
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.step import Step
from redwood.settings.data.conversion import checked_source
from redwood.settings.data.parts import DATA, DataSource
from redwood.settings.scores.results import Results
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting


@dataclass
class Background(LightningMethod):
    """Add samples of another data set to each step, as a negative class that is never predicted.

    The softmax of K + 1 classes stays the same if all scores are shifted. So the score of the negative class can be
    fixed at 0. With the K scores z of the network and S = log sum exp z, its cross-entropy is

        CE(z, y) + log(1 + exp(-S))    of a sample of class y, where CE is the cross-entropy of K classes,
        log(1 + exp(S))                of a background sample.

    The network and its predictions keep K outputs, and any loss may stand in the place of CE. Auxiliary samples against
    sure answers for unknown ones are from Hendrycks et al., "Deep Anomaly Detection with Outlier Exposure" (2019).
    """

    target = ContinualSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    background: Any = ""  # data set whose samples belong to no class of the stream
    background_ratio: float = 1.0  # background samples for each sample that is trained on, new or replayed

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.background = checked_source(self.background)
        check_positive(self, "background_ratio")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.background_seen = self.add_state("background_seen", 0)
        self.background_digest = self.add_state("background_digest", "")
        self._samples: BackgroundSamples | None = None
        if self.background and not self.run.is_trained:  # predictions need no samples, which may be gone
            source, stream = cast("DataSource", DATA.make(self.background)), setting.dataset_name
            found = source.load(setting.data_dir, setting.seed)
            if stream in (source.text, found.name, DataSource(found).text):
                raise InvalidOptionError(
                    f"--background {found.name} is the data set of the stream, whose classes are of interest; choose "
                    "another one."
                )
            self._samples = background_like(stream, setting.observation_space, found)
            self.background_digest = digest_of(found)

    @override
    def loss(self, step: Step) -> Tensor:
        loss = super().loss(step)
        if self._samples is None:
            return loss
        n, batch = max(1, round(self.background_ratio * len(step.batch.y))), step.batch
        x = self._samples.draw(n).to(self.device)
        # If ids are given at test, only the scores of one task compete: each task of the batch gets background samples.
        ids = None if batch.task_id is None else batch.task_id[torch.arange(n, device=x.device) % len(batch.y)]
        self.background_seen += n
        known, unknown = self.scores(step).logsumexp(1), self.logits(x, ids).logsumexp(1)
        return loss + step.weigh(F.softplus(-known)).mean() + F.softplus(unknown).sum() / len(batch.y)

    @override
    def on_finish(self, results: Results) -> None:
        self._samples = None
        super().on_finish(results)

    @override
    def load_state_dict(self, state: State) -> None:
        if not self.run.is_trained and state["background_digest"] != self.background_digest:
            name = cast("DataSource", DATA.make(self.background)).name
            raise DataError(f"--background {name} is not the data that the run started with; give the same data again.")
        super().load_state_dict(state)

    @override
    def never_acted(self) -> str | None:
        if not self.background_seen:
            return "No background sample was ever shown; name a data set, such as --background prototypes."
        return super().never_acted()

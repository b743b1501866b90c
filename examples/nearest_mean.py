"""A method without gradients or Lightning: nearest class mean in pixel space, learned in one pass."""

from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.errors import NotTrainedError
from redwood.methods import Method
from redwood.methods.training.heads import count_outputs
from redwood.settings import ContinualSetting, Phase, SupervisedSetting


@dataclass
class NearestMean(Method):
    """Predict the class whose mean of all samples seen is nearest."""

    target = ContinualSetting

    def configure(self, setting: SupervisedSetting) -> None:
        """No class has been seen yet."""
        n_classes, size = count_outputs(setting.action_space), int(torch.tensor(setting.observation_space.shape).prod())
        # A resumed run continues with them.
        self.sums = self.add_state("sums", torch.zeros(n_classes, size))
        self.counts = self.add_state("counts", torch.zeros(n_classes))

    def fit(self, phase: Phase) -> None:
        """Add the samples of the first pass to the sums of their classes."""
        for batch in phase.train:
            if not batch.first_pass:
                continue
            if self.counts.any():
                phase.score(self.predict(batch.x, batch.task_id), batch)
            self.sums.index_add_(0, batch.y, batch.x.flatten(1).float())
            self.counts.index_add_(0, batch.y, torch.ones(len(batch.y)))

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The nearest class of each sample (B,)."""
        if not self.counts.any():
            raise NotTrainedError("No class has been seen yet.")
        distance = torch.cdist(x.flatten(1).float(), self.sums / self.counts.clamp(min=1)[:, None])
        return distance.masked_fill(self.counts == 0, torch.inf).argmin(1)


if __name__ == "__main__":
    from redwood.settings import OnlineClassIncrementalSetting

    print(OnlineClassIncrementalSetting().apply(NearestMean(), quiet=True).metrics)

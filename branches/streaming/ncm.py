"""Nearest class mean (Mensink et al., 2013, "Distance-Based Image Classification").

The paper's subtitle is "Generalizing to New Classes at Near-Zero Cost".
"""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from redwood.branches.streaming.statistics import StreamingMethod, Sums


@dataclass
class NCM(StreamingMethod):
    """Predict the class whose mean feature is nearest (equations 1 and 2, with the Euclidean distance).

    |f - mu|^2 = |f|^2 - 2 mu.f + |mu|^2, so the nearest mean has the highest 2 mu.f - |mu|^2.
    """

    @override
    def empty(self) -> Sums:
        """The features of each class (K, d), added up."""
        return {"by_class": self._zeros(self.n_classes, self.backbone_network.dim)}

    @override
    def learn(self, features: Tensor, y: Tensor) -> None:
        self.add_products("by_class", self.one_hot(y), features)

    @override
    def solve(self) -> tuple[Tensor, Tensor]:
        """Twice the means, and minus their squared lengths."""
        means = self.sums["by_class"] / self.sums["counts"].clamp(min=1)[:, None]
        return 2 * means.T, -means.square().sum(1)

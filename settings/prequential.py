"""Scores of the predictions made before learning (prequential: Gama et al., 2013)."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from redwood.settings.workers import sum_over_workers

CURVE_POINTS = 50


class OnlineScore(ABC):
    """Scores each sample's prediction before the sample is learned from.

    Sums stay on the device of the predictions until they are asked for, so that scoring costs no synchronisation.

    Set in a subclass:
        sums: Dtype of what is added up of a batch; a wider one, `totals`, is added up over batches and workers.
    """

    sums: ClassVar[torch.dtype]
    totals: ClassVar[torch.dtype]

    def __init__(self, steps: int) -> None:
        self._hits = torch.zeros(steps, dtype=self.sums)
        self._sizes = torch.zeros(steps, dtype=torch.int32)
        self._step = 0

    @abstractmethod
    def score(self, predictions: Tensor, y: Tensor) -> Tensor:
        """What one batch adds (scalar)."""

    @abstractmethod
    def summary(self, total: float, n: int) -> float:
        """The value of `n` samples that added up to `total`."""

    def update(self, predictions: Tensor, y: Tensor) -> None:
        """Score the predictions (B, ...) of one batch against its labels or targets (B, ...)."""
        if self._hits.device != predictions.device:
            self._hits = self._hits.to(predictions.device)
        self._hits[self._step] = self.score(predictions, y)
        self._sizes[self._step] = len(y)
        self._step += 1

    def curve(self) -> list[tuple[int, float]]:
        """At most `CURVE_POINTS` pairs: samples of this phase seen, value of those since the pair before.

        The sums of all workers are added up, so every worker has to ask.
        """
        counts = sum_over_workers(torch.stack([self._hits.cpu().to(self.totals), self._sizes.to(self.totals)]))
        counts = counts[:, counts[1] > 0]
        if counts.shape[1] == 0:
            return []
        points, seen = [], 0
        for hits, sizes in zip(*(c.tensor_split(min(CURVE_POINTS, counts.shape[1])) for c in counts), strict=True):
            n = int(sizes.sum())
            seen += n
            points.append((seen, self.summary(hits.sum().item(), n)))
        return points

    def span(self) -> int:
        """Samples that the curve is over: those that all workers have scored."""
        return int(sum_over_workers(self._sizes.sum()))

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"hits": self._hits.cpu(), "sizes": self._sizes, "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from earlier sums."""
        self._hits, self._sizes, self._step = state["hits"].clone(), state["sizes"].clone(), state["step"]


class OnlineAccuracy(OnlineScore):
    """Share of the predicted classes (B,) that were right."""

    sums = torch.int32
    totals = torch.int64

    def score(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Number of right ones."""
        return (predictions == y).sum()

    def summary(self, total: float, n: int) -> float:
        """The share of right ones."""
        return total / n


class OnlineRMSE(OnlineScore):
    """Root mean squared error of predicted numbers (B,) or (B, d)."""

    sums = torch.float32
    totals = torch.float64

    def score(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Sum over samples of the squared error, which is a mean over components."""
        return (predictions - y).square().sum() / y[0].numel()

    def summary(self, total: float, n: int) -> float:
        """The root of the mean squared error."""
        return float((total / n) ** 0.5)

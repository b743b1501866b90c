"""Scores of the predictions made before learning (prequential: Gama et al., 2013)."""

from abc import ABC, abstractmethod
from itertools import accumulate
from typing import ClassVar

import torch
from gymnasium.spaces import Box
from torch import Tensor

from redwood.core.errors import InvalidPredictionError
from redwood.core.state import State
from redwood.core.workers import sum_over_workers
from redwood.settings.answers import Space, check_form, check_values
from redwood.settings.batch import Batch
from redwood.settings.streams.loader import BatchLoader

CURVE_POINTS = 50
CALL = "phase.score got"


class OnlineScore(ABC):
    """Scores each sample's prediction before the sample is learned from, against the setting's own labels.

    Predictions stay on their device until the score is asked for, so that scoring costs no synchronisation; their
    values are checked then.

    Set in a subclass:
        dtype: Of the predictions that are kept.
        sums: Dtype of what is added up of a batch; a wider one, `totals`, is added up over batches and workers.
    """

    dtype: ClassVar[torch.dtype]
    sums: ClassVar[torch.dtype]
    totals: ClassVar[torch.dtype]

    def __init__(self, train: BatchLoader, space: Space) -> None:
        """Score predictions of `space` for the batches of `train`."""
        self._train, self._space, self._shape = train, space, space.shape or ()
        self._starts = [0, *accumulate(train.sizes)]
        self._answers = torch.zeros(self._starts[-1], *self._shape, dtype=self.dtype)
        self._pending: set[int] = set()
        self._scored = [False] * train.steps_per_pass
        self._hits = torch.zeros(train.steps_per_pass, dtype=self.sums)
        self._sizes = torch.zeros(train.steps_per_pass, dtype=torch.int32)

    @abstractmethod
    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        """What each batch adds (steps,), given its size, for all samples one after the other."""

    @abstractmethod
    def summary(self, total: float, n: int) -> float:
        """The value of `n` samples that added up to `total`."""

    def update(self, predictions: Tensor, batch: Batch) -> None:
        """Keep the predictions for a batch of the loader, if it is shown for the first time.

        Raises:
            InvalidPredictionError: If they are not of the form that the setting asks for, the batch is not one that
                the loader has yielded, or it has been scored before.
            PhaseOverError: If the phase is over.
        """
        showing = self._train.showing_of(batch)
        if showing is None:
            raise InvalidPredictionError(
                f"{CALL} {'a batch' if hasattr(batch, 'showing') else 'something'} that phase.train has not yielded; "
                "call phase.score(predictions, batch) with the whole batch as it came."
            )
        _, step, first_pass = showing
        size = self._train.sizes[step]
        # The usual form is looked at here, in a fraction of the time.
        if (
            type(predictions) is not Tensor
            or predictions.dtype != self.dtype
            or predictions.shape != (size, *self._shape)
        ):
            check_form(predictions, self._space, size, CALL)
        if not first_pass:
            return
        if self._scored[step]:
            raise InvalidPredictionError(f"{CALL} a batch for the second time; score it once, before learning.")
        self._scored[step] = True
        self._pending.add(step)
        self._place(predictions.device)
        self._answers[self._starts[step] : self._starts[step + 1]] = predictions.detach()

    def _place(self, device: torch.device) -> None:
        if self._answers.device != device:
            with torch.inference_mode(False):
                self._answers = self._answers.to(device)

    def settle(self) -> None:
        """Compare what has come with the labels.

        Raises:
            InvalidPredictionError: If a prediction is no class, or no number.
        """
        if not self._pending:
            return
        steps = sorted(self._pending)
        self._pending.clear()
        y = self._train.labels_shown()
        places = torch.cat([torch.arange(self._starts[step], self._starts[step + 1]) for step in steps])
        predictions, sizes = self._answers.cpu()[places], [self._train.sizes[step] for step in steps]
        check_values(predictions, self._space, CALL)
        self._hits[steps] = self.score(predictions, y[places], sizes)
        self._sizes[steps] = torch.tensor(sizes, dtype=torch.int32)

    def curve(self) -> list[tuple[int, float]]:
        """At most `CURVE_POINTS` pairs: samples of this phase seen, value of those since the pair before.

        The sums of all workers are added up, so every worker has to ask.
        """
        self.settle()
        counts = sum_over_workers(torch.stack([self._hits.to(self.totals), self._sizes.to(self.totals)]))
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
        self.settle()
        return int(sum_over_workers(self._sizes.sum()))

    def state_dict(self) -> State:
        """The sums so far."""
        self.settle()
        return {"hits": self._hits.clone(), "sizes": self._sizes.clone()}

    def load_state_dict(self, state: State) -> None:
        """Go on from earlier sums."""
        self._hits, self._sizes = state["hits"].clone(), state["sizes"].clone()
        self._scored = (self._sizes > 0).tolist()


class OnlineAccuracy(OnlineScore):
    """Share of the predicted classes (B,) that were right."""

    dtype = torch.int64
    sums = torch.int32
    totals = torch.int64

    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        """Number of right ones."""
        right = torch.cat([torch.zeros(1, dtype=self.sums), (predictions == y).cumsum(0, dtype=self.sums)])
        return right[list(accumulate(sizes))].diff(prepend=right[:1])

    def summary(self, total: float, n: int) -> float:
        """The share of right ones."""
        return total / n


class OnlineRMSE(OnlineScore):
    """Root mean squared error of predicted numbers (B,) or (B, d)."""

    dtype = torch.float32
    sums = torch.float32
    totals = torch.float64

    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        """Sum over samples of the squared error, which is a mean over components."""
        errors = (predictions - y).square().split(sizes)
        return torch.stack([error.sum() for error in errors]) / y[0].numel()

    def summary(self, total: float, n: int) -> float:
        """The root of the mean squared error."""
        return float((total / n) ** 0.5)


def online_score(train: BatchLoader, space: Space) -> OnlineScore:
    """The score that goes with what is predicted: classes, or numbers."""
    return (OnlineRMSE if isinstance(space, Box) else OnlineAccuracy)(train, space)

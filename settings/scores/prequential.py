"""Online scores: of predictions made before learning from the sample (prequential: Gama et al., 2013)."""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import ClassVar, Protocol

import torch
from gymnasium.spaces import Box, MultiBinary
from torch import Tensor
from typing_extensions import override

from redwood.core.errors import HiddenError, InvalidPredictionError
from redwood.core.state import State
from redwood.core.workers import sum_over_workers
from redwood.settings.batch import Batch, BatchId
from redwood.settings.scores.answers import Space, check_form, check_values
from redwood.settings.scores.label_sets import sample_f1

CURVE_POINTS = 50
# Batches whose predictions wait to be compared: each costs some 100 bytes, and a stream may have millions.
MOST_PENDING = 4096
CALL = "phase.score got"


class Served(Protocol):
    """The mini-batches of a worker that are scored while they are served."""

    @property
    def sizes(self) -> Sequence[int]:
        """Number of samples of each batch of the first pass."""

    @property
    def steps_per_pass(self) -> int:
        """Number of these batches."""

    def id_of(self, batch: object) -> BatchId | None:
        """The identity of `batch`; None if it has not been served."""

    def labels_shown(self, first: int = 0) -> Tensor:
        """The setting's own labels (n,), or targets, of the batches of the first pass so far, from `first` on."""


class OnlineScore(ABC):
    """Compares predictions, made before the method learns from the sample, with the setting's own labels.

    Predictions stay on their device until the score is read, or `MOST_PENDING` batches wait, so scoring hardly costs a
    synchronisation. Their values are checked then.

    Set in a subclass:
        dtype: Dtype of the stored predictions.
        sums: Dtype of the sum over a batch.
        totals: Wider dtype of the sum over batches and workers.
    """

    dtype: ClassVar[torch.dtype]
    sums: ClassVar[torch.dtype]
    totals: ClassVar[torch.dtype]

    def __init__(self, train: Served, space: Space) -> None:
        """Score predictions of `space` for the batches of `train`."""
        self._train, self._space, self._shape = train, space, space.shape or ()
        self._starts = array("q", [0, *accumulate(train.sizes)])
        self._answers = torch.zeros(self._starts[-1], *self._shape, dtype=self.dtype)
        self._pending: set[int] = set()
        self._scored = bytearray(train.steps_per_pass)
        self._steps_scored = 0
        self._is_handed_over = False
        self._hits = torch.zeros(train.steps_per_pass, dtype=self.sums)
        self._sizes = torch.zeros(train.steps_per_pass, dtype=torch.int32)

    @abstractmethod
    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        """The sum of each batch (steps,), whose samples are `sizes` consecutive entries of `predictions` and `y`."""

    def summary(self, total: float, n: int) -> float:
        """The score of `n` samples whose values add up to `total`: their mean."""
        return total / n

    def update(self, predictions: Tensor, batch: Batch) -> None:
        """Store the predictions for a batch of the loader, if the batch is presented for the first time.

        Raises:
            InvalidPredictionError: If the predictions have another form than the setting asks for, the loader has not
                yielded the batch, or the batch has been scored before.
            PhaseOverError: If the phase is over.
        """
        batch_id = self._train.id_of(batch)
        if batch_id is None:
            raise InvalidPredictionError(
                f"{CALL} {'a batch' if hasattr(batch, 'batch_id') else 'something'} that phase.train has not yielded; "
                "call phase.score(predictions, batch) with the whole batch as it came."
            )
        step, first_pass = batch_id.step, batch_id.first_pass
        size = self._train.sizes[step]
        # The usual form is checked here, in a fraction of the time.
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
        if len(self._pending) >= MOST_PENDING:
            self.settle()

    @property
    def steps_scored(self) -> int:
        """Number of batches whose score is known, those without samples left out."""
        return self._steps_scored

    def hand_over(self) -> Callable[[int, Tensor, Tensor], None]:
        """Leave the scoring to the caller: return a function that scores predictions of batch `step` by `y` (B, ...).

        The setting takes it before a method gets the phase. There is one only, so no method can score itself.

        Raises:
            HiddenError: If it has been handed over.
        """
        if self._is_handed_over:
            raise HiddenError("The setting scores what it asked for; a method answers by `predict` alone.")
        self._is_handed_over = True

        def record(step: int, predictions: Tensor, y: Tensor) -> None:
            self._hits[step] = self.score(predictions, y, [len(y)])[0]
            self._steps_scored += not self._scored[step] and len(y) > 0
            self._sizes[step], self._scored[step] = len(y), True

        return record

    def _place(self, device: torch.device) -> None:
        if self._answers.device != device:
            with torch.inference_mode(False):
                self._answers = self._answers.to(device)

    def settle(self) -> None:
        """Compare the stored predictions with the labels.

        Raises:
            InvalidPredictionError: If a prediction is no known class, or no number.
        """
        if not self._pending:
            return
        steps = sorted(self._pending)
        self._pending.clear()
        # Labels of steps before are not looked at again: a long phase is settled many times.
        first, last = self._starts[steps[0]], self._starts[steps[-1] + 1]
        answers, y = self._answers[first:last].cpu(), self._train.labels_shown(steps[0])
        places = torch.cat([torch.arange(self._starts[step], self._starts[step + 1]) for step in steps]) - first
        predictions, sizes = answers[places], [self._train.sizes[step] for step in steps]
        check_values(predictions, self._space, CALL)
        self._hits[steps] = self.score(predictions, y[places], sizes)
        self._sizes[steps] = torch.tensor(sizes, dtype=torch.int32)
        self._steps_scored += sum(size > 0 for size in sizes)

    def curve(self) -> list[tuple[int, float]]:
        """At most `CURVE_POINTS` pairs: samples of this phase seen, and the score of the samples since the pair before.

        The sums of all workers are added up, so every worker has to call this method.
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
        """Number of samples that all workers have scored."""
        self.settle()
        return int(sum_over_workers(self._sizes.sum()))

    def by_step(self) -> tuple[Tensor, Tensor]:
        """The sum over each batch of this worker (steps,), and its number of samples (steps,): 0 if not scored yet."""
        self.settle()
        return self._hits.clone(), self._sizes.clone()

    def state_dict(self) -> State:
        """The sums so far."""
        self.settle()
        return {"hits": self._hits.clone(), "sizes": self._sizes.clone()}

    def load_state_dict(self, state: State) -> None:
        """Continue from earlier sums."""
        self._hits, self._sizes = state["hits"].clone(), state["sizes"].clone()
        self._scored = bytearray((self._sizes > 0).tolist())
        self._steps_scored = sum(self._scored)


class OnlineAccuracy(OnlineScore):
    """Share of the predicted classes (B,) that were right."""

    dtype = torch.int64
    sums = torch.int32
    totals = torch.int64

    @override
    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        right = torch.cat([torch.zeros(1, dtype=self.sums), (predictions == y).cumsum(0, dtype=self.sums)])
        return right[list(accumulate(sizes))].diff(prepend=right[:1])


class OnlineRMSE(OnlineScore):
    """Root mean squared error of predicted numbers (B,) or (B, d)."""

    dtype = torch.float32
    sums = torch.float32
    totals = torch.float64

    @override
    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        # The squared error of a sample is the mean over its components.
        errors = (predictions - y).square().split(sizes)
        return torch.stack([error.sum() for error in errors]) / y[0].numel()

    @override
    def summary(self, total: float, n: int) -> float:
        return float((total / n) ** 0.5)


class OnlineF1(OnlineScore):
    """Mean over samples of the F1 of predicted label sets (B, L), bool."""

    dtype = torch.bool
    sums = torch.float32
    totals = torch.float64

    @override
    def score(self, predictions: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
        return torch.stack([values.sum() for values in sample_f1(predictions, y).split(sizes)])


def online_score(train: Served, space: Space) -> OnlineScore:
    """The score for predictions of `space`: accuracy of classes, F1 of label sets, or RMSE of numbers."""
    if isinstance(space, MultiBinary):
        return OnlineF1(train, space)
    return (OnlineRMSE if isinstance(space, Box) else OnlineAccuracy)(train, space)

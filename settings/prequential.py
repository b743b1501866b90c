"""Scores of the predictions made before learning (prequential: Gama et al., 2013)."""

from abc import ABC, abstractmethod
from itertools import accumulate
from typing import Any, ClassVar

import gymnasium
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from redwood.core.errors import InvalidPredictionError
from redwood.core.workers import sum_over_workers
from redwood.settings.streams.loader import BatchLoader


def check_form(
    answer: Any,
    space: gymnasium.Space[Any],
    n: int,
    call: str,
    *,
    scores: bool = False,
    samples: str = "samples",
    choices: str = "classes",
) -> None:
    """Raise `InvalidPredictionError` unless `answer` is a tensor of the shape and kind that `space` asks for.

    The values are not read, so that this costs no synchronisation with a GPU; see `check_values`.

    Args:
        answer: Integers (n,) where `space` is `Discrete`, else numbers (n, ...).
        space: What is answered with.
        n: Number of samples or observations.
        call: What gave the answer, such as "predict returned".
        scores: Whether a score for each choice (n, K) will do as well.
        samples: What the answer is for, in the message.
        choices: What a `Discrete` space holds, in the message.
    """
    if _fits(answer, space, n, scores):
        return
    if isinstance(answer, Tensor):
        came = f"a tensor of shape {tuple(answer.shape)} of {str(answer.dtype).removeprefix('torch.')}"
    else:
        came = "None" if answer is None else f"an object of {type(answer).__module__}.{type(answer).__name__}"
    raise InvalidPredictionError(f"{call} {came} for {n} {samples}; {_wanted(space, n, choices, scores)}.")


def _fits(answer: Any, space: gymnasium.Space[Any], n: int, scores: bool) -> bool:
    if not isinstance(answer, Tensor):
        return False
    shape = tuple(answer.shape)
    if not isinstance(space, Discrete):
        return shape == (n, *(space.shape or ())) and answer.dtype != torch.bool and not answer.is_complex()
    if scores and shape == (n, int(space.n)):
        return answer.dtype != torch.bool and not answer.is_complex()
    return shape == (n,) and not (answer.is_floating_point() or answer.is_complex() or answer.dtype == torch.bool)


def check_values(answer: Tensor, space: gymnasium.Space[Any], call: str, choices: str = "classes") -> None:
    """Raise `InvalidPredictionError` if an answer that passed `check_form` holds no choice of `space`, or no number.

    Numbers may lie outside of the bounds of `space`, and scores may be infinite, but not NaN.
    """
    if not answer.numel():
        return
    if answer.is_floating_point():
        wrong = ~answer.isfinite() if isinstance(space, Box) else answer.isnan()
        if bool(wrong.any()):
            raise InvalidPredictionError(f"{call} {answer[wrong][0].item()}, which is no number to go by.")
    elif isinstance(space, Discrete) and answer.dim() == 1:
        first, last = int(space.start), int(space.start + space.n) - 1
        for value in (int(answer.min()), int(answer.max())):
            if not first <= value <= last:
                raise InvalidPredictionError(f"{call} {value}, but the {choices} are {first} to {last}.")


def _wanted(space: gymnasium.Space[Any], n: int, choices: str, scores: bool) -> str:
    if not isinstance(space, Discrete):
        return f"return the numbers {(n, *(space.shape or ()))} as a tensor"
    integers = f"return {choices} ({n},)"
    return f"{integers} or scores ({n}, {space.n})" if scores else f"{integers}, a tensor of integers"


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

    def __init__(self, train: BatchLoader, space: gymnasium.Space[Any]) -> None:
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

    def update(self, predictions: Any, batch: Any) -> None:
        """Keep the predictions for a batch of the loader, if it is shown for the first time.

        Raises:
            InvalidPredictionError: If they are not of the form that the setting asks for, the batch is not one that
                the loader has yielded, or it has been scored before.
            PhaseOverError: If the phase is over.
        """
        if not self._train.serves(batch):
            raise InvalidPredictionError(
                f"{CALL} {'a batch' if hasattr(batch, 'showing') else 'something'} that phase.train has not yielded; "
                "call phase.score(predictions, batch) with the whole batch as it came."
            )
        _, step, first_pass = batch.showing
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

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        self.settle()
        return {"hits": self._hits.clone(), "sizes": self._sizes.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
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


def online_score(train: BatchLoader, space: gymnasium.Space[Any]) -> OnlineScore:
    """The score that goes with what is predicted: classes, or numbers."""
    return (OnlineRMSE if isinstance(space, gymnasium.spaces.Box) else OnlineAccuracy)(train, space)

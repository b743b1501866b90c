"""Methods without a network, which answer from stored samples: predict a batch, score it, then store it."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.workers import gather_objects
from redwood.methods.base import Method
from redwood.methods.networks import Scale
from redwood.methods.training.heads import TaskHeads, as_predictions, count_outputs, predicts_numbers
from redwood.settings.assumptions import TaskIds
from redwood.settings.batch import Batch
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import ContinualSetting


def fit_ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights W and bias b of the least sum |x W + b - y|^2 + penalty |W|^2.

    Args:
        x: Inputs (n, d), double precision.
        y: Targets (n, k); for classes one-hot.
        penalty: Greater than 0; then the solution is unique, however many samples there are.

    Returns:
        W (d, k) and b (k,).
    """
    n, d = x.shape
    mean, target = x.mean(0), y.mean(0)
    x, y = x - mean, y - target
    identity = torch.eye(min(n, d), dtype=x.dtype)
    if n < d:  # the dual form has fewer equations
        weights = x.T @ torch.linalg.solve(x @ x.T + penalty * identity, y)
    else:
        weights = torch.linalg.solve(x.T @ x + penalty * identity, x.T @ y)
    return weights, target - mean @ weights


def predict_ridge(x: Tensor, y: Tensor, weights: Tensor, at: Tensor, penalty: float) -> Tensor:
    """Predictions of many local models; each is fitted to its own weighted samples, and predicts at one point.

    Args:
        x: Inputs (q, n, d) of q models, double precision.
        y: Targets (q, n, k).
        weights: Weight of each sample in the sum of squared errors of its model (q, n), not all 0.
        at: The point of each model (q, d).
        penalty: Factor of the squared length of the models' weights, greater than 0.

    Returns:
        Predictions (q, k).
    """
    shares, roots = (weights / weights.sum(1, keepdim=True))[..., None], weights.sqrt()[..., None]
    mean, target = (shares * x).sum(1, keepdim=True), (shares * y).sum(1, keepdim=True)
    x, y, at = roots * (x - mean), roots * (y - target), at[:, None] - mean
    n, d = x.shape[1:]
    identity = torch.eye(min(n, d), dtype=x.dtype)
    if n < d:  # as in `fit_ridge`
        rest = (at @ x.mT) @ torch.linalg.solve(x @ x.mT + penalty * identity, y)
    else:
        rest = at @ torch.linalg.solve(x.mT @ x + penalty * identity, x.mT @ y)
    predictions: Tensor = (target + rest)[:, 0]
    return predictions


def ridge_flops(n: int, d: int, k: int) -> float:
    """Operations of a fit of k targets to n samples of d inputs.

    They are the matrix of the smaller system, its decomposition, k solutions, and the products of k targets or
    solutions with the samples.
    """
    m = min(n, d)
    return 2.0 * n * d * m + 2.0 * m**3 / 3 + 2.0 * m**2 * k + 2.0 * n * d * k


REPORT_EVERY = 10


@dataclass
class PrequentialMethod(Method):
    """Predict each batch, classes or numbers, before its samples are stored.

    The stream is read once, whatever its `passes`. Workers exchange their batches. So all of them store the same
    samples and predict alike, as one worker with larger batches would. The methods compute on the CPU.

    Attributes that a subclass may use:
        n_outputs: Number of classes, or of numbers to predict.
        flops: Operations of reading the stream so far, with its predictions.
    """

    target = ContinualSetting

    @abstractmethod
    def forget(self) -> None:
        """Start with no samples."""

    @abstractmethod
    def add(self, x: Tensor, y: Tensor) -> None:
        """Store samples (n, ...) in their storage dtype, with labels (n,), or targets (n,) or (n, d)."""

    @abstractmethod
    def answer(self, x: Tensor) -> Tensor:
        """Scores of classes, or numbers, (B, k) for inputs (B, d) as `inputs` makes them; there are samples."""

    @abstractmethod
    def kept(self) -> int:
        """Number of stored samples that predictions use."""

    @abstractmethod
    def query_flops(self, d: int) -> float:
        """Operations of one answer for an input of d features."""

    def configure(self, setting: SupervisedSetting) -> None:
        """Start with no samples."""
        self.setting = setting
        self.n_outputs = count_outputs(setting.action_space)
        heads = TaskHeads(self.n_outputs, active=setting.assumptions.task_ids >= TaskIds.TEST)
        self.heads = self.add_state("heads", heads)
        self.flops = self.add_state("flops", 0.0)
        self._scale = Scale(setting.observation_space)
        torch.set_num_threads(self.run.threads or 1)

    def inputs(self, x: Tensor) -> Tensor:
        """Samples (n, ...) as vectors (n, d), each feature scaled to [-1, 1], in double precision."""
        scaled: Tensor = self._scale(x)
        return scaled.flatten(1).double()

    def targets(self, y: Tensor) -> Tensor:
        """Targets (n, k) of a fit, in double precision: one-hot classes, or the numbers."""
        return (y.view(len(y), -1) if y.is_floating_point() else F.one_hot(y, self.n_outputs)).double()

    @override
    def fit(self, phase: Phase) -> None:
        self.heads.learn(phase.task_classes)
        if self.setting.phases_accumulate:
            self.forget()  # the phase holds the samples of earlier phases, too
        for step, batch in enumerate(phase.train, start=1):
            if batch.first_pass:
                self._read(batch, phase)
            if step % REPORT_EVERY == 0:
                self.run.reporter.step(step)
        self.run.global_step += len(phase.train)

    def _read(self, batch: Batch, phase: Phase) -> None:
        answer = self.predict(batch.x, batch.task_id if self.heads.active else None)
        phase.score(answer if predicts_numbers(self.setting.action_space) else answer.argmax(1), batch)
        if self.kept():
            self.flops += len(batch.y) * self.query_flops(batch.x[0].numel())
        of_workers = gather_objects((batch.x, batch.y))
        self.add(torch.cat([x for x, _ in of_workers]), torch.cat([y for _, y in of_workers]))

    @override
    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        outputs = self.answer(self.inputs(x)) if self.kept() else torch.zeros(len(x), self.n_outputs)
        outputs = as_predictions(outputs.float(), self.setting.action_space)
        return outputs if task_id is None else self.heads.mask(outputs, task_id)

    @override
    def costs(self) -> dict[str, Any]:
        return super().costs() | {"training_flops": self.flops}

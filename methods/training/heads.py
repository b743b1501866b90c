"""Output heads: with a task id at hand, only the classes of that task compete."""

from collections.abc import Mapping
from math import prod

import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor
from torch.nn import functional as F

from redwood.core.state import State, Stateful


def count_outputs(action_space: Discrete | MultiBinary | Box) -> int:
    """Outputs that a network needs: one for each class, label, or number to predict."""
    if isinstance(action_space, MultiBinary):
        return prod(action_space.shape)
    return prod(action_space.shape) if isinstance(action_space, Box) else int(action_space.n)


def predicts_numbers(action_space: Discrete | MultiBinary | Box) -> bool:
    """True if numbers are to be predicted, not classes or labels."""
    return isinstance(action_space, Box)


def predicts_label_sets(action_space: Discrete | MultiBinary | Box) -> bool:
    """True if samples have several labels."""
    return isinstance(action_space, MultiBinary)


def as_predictions(outputs: Tensor, action_space: Discrete | MultiBinary | Box) -> Tensor:
    """Return predictions: scores (B, K) unchanged, or numbers (B,) or (B, d) in the shape of the targets."""
    if not isinstance(action_space, Box):
        return outputs
    return outputs.reshape(outputs.shape[0], *(action_space.shape or ()))


def sample_losses(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the loss (B,) of each sample: cross-entropy of classes, or the mean squared error of a target's numbers.

    For label sets, it is the mean over labels of the binary cross-entropy of a logistic function of each output. Masked
    outputs (minus infinity) do not count.

    Args:
        outputs: Of the network (B, K) or (B, d).
        y: Classes (B,), integers, label sets (B, K), bool, or targets (B,) or (B, d), floats.
    """
    if y.dtype == torch.bool:
        return -log_likelihoods(outputs, y) / (outputs != -torch.inf).sum(1).clamp(min=1)
    if not y.is_floating_point():
        return F.cross_entropy(outputs, y, reduction="none")
    return (outputs - y.view_as(outputs)).square().mean(1)


def mean_loss(outputs: Tensor, y: Tensor) -> Tensor:
    """The mean (scalar) of `sample_losses`, which of classes PyTorch computes in one call."""
    return F.cross_entropy(outputs, y) if y.dtype == torch.int64 else sample_losses(outputs, y).mean()


def log_likelihoods(outputs: Tensor, y: Tensor) -> Tensor:
    """Log p(y | x) of each sample (B,), by the network's outputs (B, K).

    Labels of a set are independent, each with the logistic function of its output; masked ones do not count.

    Args:
        outputs: Of the network (B, K).
        y: Classes (B,), integers, or label sets (B, K), bool.
    """
    if y.dtype != torch.bool:
        return outputs.log_softmax(1).gather(1, y[:, None])[:, 0]
    masked = outputs == -torch.inf
    losses = F.binary_cross_entropy_with_logits(outputs.masked_fill(masked, 0), y.to(outputs.dtype), reduction="none")
    return -losses.masked_fill(masked, 0).sum(1)


class TaskHeads(Stateful):
    """The outputs of each task, known from the training phases.

    One output layer serves all tasks. The head of a task is the part of it that the task's classes use (the multi-head
    network of van de Ven & Tolias, 2019). A task may use all outputs, so `met` records apart which tasks were met.
    """

    def __init__(self, n_outputs: int, *, active: bool) -> None:
        """Start with no task known; unless `active`, nothing is ever masked."""
        self.active = active
        # Row k: the outputs of task k. The last row stands for all later tasks; tasks that were not met allow all.
        self.allowed = self.add_state("allowed", torch.ones(1, n_outputs, dtype=torch.bool))
        self.met = self.add_state("met", torch.zeros(1, dtype=torch.bool))

    def learn(self, task_classes: Mapping[int, tuple[int, ...]] | None) -> None:
        """Take in the classes of each task of a phase."""
        if not self.active or not task_classes:
            return
        for task, classes in task_classes.items():
            self._make_room(task)
            if not self.met[task]:
                self.met[task] = True
                self.allowed[task] = False
            self.allowed[task, list(classes)] = True

    def grow_state(self, saved: State, smaller: "TaskHeads") -> State:
        """The outputs of earlier tasks, none of which has the further outputs of this head."""
        allowed, met = saved["allowed"], saved["met"]
        further = (~met)[:, None].expand(-1, self.allowed.shape[1] - allowed.shape[1])
        return {"allowed": torch.cat([allowed, further], dim=1), "met": met}

    def _make_room(self, task: int) -> None:
        missing = task + 2 - len(self.allowed)
        if missing > 0:
            self.allowed = torch.cat([self.allowed, torch.ones_like(self.allowed[:1]).expand(missing, -1)])
            self.met = torch.cat([self.met, torch.zeros(missing, dtype=torch.bool)])

    def mask(self, scores: Tensor, task_id: Tensor) -> Tensor:
        """Set the scores (B, K) of outputs outside each sample's task (B,) to minus infinity."""
        if not self.active:
            return scores
        self.allowed = self.allowed.to(scores.device)
        rows = task_id.clamp(max=len(self.allowed) - 1)
        return scores.masked_fill(~self.allowed[rows], -torch.inf)

    def outputs(self) -> Tensor:
        """The outputs of each task that was met (T, K), bool, on the CPU."""
        return self.allowed.cpu()[self.met]

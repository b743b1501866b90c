"""Output heads: with a task id at hand, only the classes of that task compete."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class TaskHeads:
    """Which outputs belong to which task, as the training phases tell.

    One output layer serves all tasks; the head of a task is the part of it that the task's classes use (the multi-head
    network of van de Ven & Tolias, 2019).
    """

    def __init__(self, n_outputs: int, *, active: bool) -> None:
        """Start with no task known; unless `active`, nothing is ever masked."""
        self.active = active
        # Row k: the outputs of task k; the last row, for all tasks not met yet, allows everything.
        self._allowed = torch.ones(1, n_outputs, dtype=torch.bool)

    def learn(self, task_classes: Mapping[int, tuple[int, ...]] | None) -> None:
        """Take in the classes of each task of a phase."""
        if not self.active or not task_classes:
            return
        for task, classes in task_classes.items():
            if task >= len(self._allowed) - 1:
                unknown = torch.ones(task + 2 - len(self._allowed), self._allowed.shape[1], dtype=torch.bool)
                self._allowed = torch.cat([self._allowed, unknown.to(self._allowed.device)])
            first_met = bool(self._allowed[task].all())
            if first_met:
                self._allowed[task] = False
            self._allowed[task, list(classes)] = True

    def mask(self, scores: Tensor, task_id: Tensor) -> Tensor:
        """Set the scores (B, K) of outputs outside each sample's task (B,) to minus infinity."""
        if not self.active:
            return scores
        self._allowed = self._allowed.to(scores.device)
        rows = task_id.clamp(max=len(self._allowed) - 1)
        return scores.masked_fill(~self._allowed[rows], -torch.inf)

    def outputs(self) -> Tensor:
        """The outputs of each task up to the last one met (T, K), bool, on the CPU: all for one that was skipped."""
        return self._allowed[:-1].cpu()

    def state_dict(self) -> dict[str, Any]:
        """What is known of the tasks."""
        return {"allowed": self._allowed.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was known."""
        self._allowed = state["allowed"].clone()

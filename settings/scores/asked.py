"""Online scores of predictions that the setting asks for, before it hands out the labels of a mini-batch."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from redwood.core.errors import NotTrainedError
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.core.user_warnings import warn
from redwood.core.workers import rank
from redwood.settings.batch import Batch
from redwood.settings.scores.answers import Space, decisions
from redwood.settings.scores.evaluation import Predictor, ask
from redwood.settings.scores.prequential import OnlineScore


class Upcoming(Protocol):
    """The mini-batches that a worker is going to serve."""

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """Start and stop of each of them."""

    def peek(self, step: int) -> Batch:
        """One of them, with its labels, without serving it."""


class AskedScore:
    """Asks a method to predict each mini-batch before its labels are served; the answers are the online score.

    The method gets samples alone, so it cannot look at the labels first or leave a sample out. Labels may come late:
    with a delay of d, mini-batch t is predicted before the labels of mini-batch t - d are served. Each mini-batch is
    presented once.

    A method that cannot predict yet has given a wrong answer for each sample (the number 0 in regression).
    """

    def __init__(
        self,
        learner: Predictor,
        sequence: Upcoming,
        online: OnlineScore,
        space: Space,
        *,
        seed: int,
        delay: int = 0,
        show_ids: bool = False,
    ) -> None:
        """Ask `learner` about the batches of `sequence`.

        Args:
            learner: The method.
            sequence: The mini-batches of this worker.
            online: The score of the phase, which takes the answers.
            space: The classes, or the numbers to predict.
            seed: Seed of the method's draws for its answers, so that asking does not change its later draws.
            delay: How many mini-batches later the labels of a mini-batch come.
            show_ids: Whether the method is told the task of each sample.
        """
        self._learner, self._sequence, self._online, self._space = learner, sequence, online, space
        self._seed, self._delay, self._show_ids = seed, delay, show_ids
        self._record = online.hand_over()
        self._told = False

    def before_batch(self, number: int) -> None:
        """Predict all mini-batches whose samples have come by now; the labels of mini-batch `number` come next."""
        for step in range(self._online.steps_scored, min(number + self._delay + 1, len(self._sequence.spans))):
            batch = self._sequence.peek(step)
            # A resumed run asks before its random generators are restored, so each mini-batch has a seed of its own.
            with preserved_random_state():
                seed_everything(self._seed, "asked", rank(), step)
                predictions = self._answer(batch.x, batch.task_id, batch.y)
            self._record(step, predictions, batch.y)

    def _answer(self, x: Tensor, task_id: Tensor | None, y: Tensor) -> Tensor:
        """The predicted classes (B,), label sets or numbers for samples (B, ...)."""
        try:
            with torch.no_grad():
                answer = ask(self._learner, x, task_id if self._show_ids else None, self._space).cpu()
        except NotTrainedError:
            self._tell_untrained()
            return self._wrong(y)
        return decisions(answer, y)

    @staticmethod
    def _wrong(y: Tensor) -> Tensor:
        if y.dtype == torch.bool:
            return ~y
        return torch.zeros_like(y) if y.is_floating_point() else torch.full_like(y, -1)

    def _tell_untrained(self) -> None:
        if not self._told and rank() == 0:
            self._told = True
            warn(
                f"{type(self._learner).__name__} cannot predict while it has not finished a phase; until then its "
                "online predictions count as wrong."
            )

    def state_dict(self) -> State:
        """Nothing: the score of the phase tells which mini-batches were predicted."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Continue behind the last mini-batch that was predicted."""

"""One phase of a run: what `Method.fit` gets."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from redwood.settings.prequential import OnlineAccuracy, OnlineScore
from redwood.settings.streams.loader import BatchLoader


class Phase:
    """The data of one call of `Method.fit`.

    Attributes:
        index: Number of the phase, from 0.
        task_id: The task that the phase trains, or None where it is hidden or the phase holds several.
        task_classes: Of each task that the phase holds samples of: all labels that the task has, ascending, whichever
            of them this phase shows. None where ids are hidden in training, or numbers are predicted.
        train: Loader of the training batches; iterate it `train.epochs` times.
        validation: Loader of the samples held out from this phase, or None if the setting holds none out.
        online: Accuracy (regression: RMSE) of the predictions made before learning; see `score`.
    """

    def __init__(
        self,
        index: int,
        task_id: int | None,
        task_classes: Mapping[int, tuple[int, ...]] | None,
        train: BatchLoader,
        validation: BatchLoader | None,
        online: type[OnlineScore] = OnlineAccuracy,
    ) -> None:
        self.index = index
        self.task_id = task_id
        self.task_classes = task_classes
        self.train = train
        self.validation = validation
        self.online = online(train.steps_per_pass)

    @property
    def steps(self) -> int:
        """Training steps of the phase: batches per epoch times epochs."""
        return len(self.train) * self.train.epochs

    @property
    def samples_served(self) -> int:
        """Samples trained on so far by this worker, repeats included."""
        return self.train.samples_served

    def score(self, predictions: Tensor, y: Tensor) -> None:
        """Count the predictions of the last batch, made before learning from it; repeats do not count.

        Args:
            predictions: Classes (B,), or the numbers predicted, of the shape of `y`.
            y: Labels (B,), or targets (B,) or (B, d).
        """
        if self.train.first_pass:
            self.online.update(predictions, y)

    def close(self) -> None:
        """Nothing is left open, unlike in a phase of environments."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint inside the phase needs beside the method: position and counts."""
        return {"train": self.train.state_dict(), "online": self.online.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on inside the phase."""
        self.train.load_state_dict(state["train"])
        self.online.load_state_dict(state["online"])

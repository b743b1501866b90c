"""One phase of a supervised run: the argument of `Method.fit`."""

from collections.abc import Mapping

from torch import Tensor

from redwood.core.state import State
from redwood.settings.batch import Batch
from redwood.settings.scores.answers import Space
from redwood.settings.scores.prequential import online_score
from redwood.settings.streams.loader import BatchLoader, HeldOutLoader


class Phase:
    """The data of one call of `Method.fit`.

    Attributes:
        index: Number of the phase, from 0.
        task_id: The task that the phase trains, or None where it is hidden or the phase holds several.
        task_classes: All labels of each task of the phase, ascending, even if this phase shows only some of them. None
            where ids are hidden in training, or numbers are predicted.
        train: Loader of the training batches. It can be iterated `train.epochs` times, until the phase is over.
        validation: Loader of the samples held out from this phase, or None if there are none. Where boundaries are not
            announced, it yields those whose places the stream has passed, shuffled.
        online: Accuracy (regression: RMSE) of the predictions made before learning; see `score`.
        asks: Whether the setting itself asks the method to predict each mini-batch before it serves the labels. Then
            `score` counts nothing.
    """

    def __init__(
        self,
        index: int,
        task_id: int | None,
        task_classes: Mapping[int, tuple[int, ...]] | None,
        train: BatchLoader,
        validation: HeldOutLoader | None,
        action_space: Space,
    ) -> None:
        self.index = index
        self.task_id = task_id
        self.task_classes = task_classes
        self.train = train
        self.validation = validation
        self.online = online_score(train, action_space)
        self.asks = False

    @property
    def steps(self) -> int:
        """Training steps of the phase: batches per epoch times epochs."""
        return len(self.train) * self.train.epochs

    @property
    def samples_served(self) -> int:
        """Samples trained on so far by this worker, repeats included."""
        return self.train.samples_served

    @property
    def inputs_digest(self) -> int:
        """CRC-32 of the samples and labels that this worker has trained on so far, in their order."""
        return self.train.digest

    def score(self, predictions: Tensor, batch: Batch) -> None:
        """Count the predictions for a batch of `train`, made before learning from the batch; repeats do not count.

        The setting compares them with its own labels. It reads their values at the end of the phase or at a
        checkpoint, and raises an error for invalid values then.

        Args:
            predictions: Classes (B,), integers, or the numbers predicted, of the shape of the targets.
            batch: The whole batch as it came, or moved by `batch.to`. The loader may have yielded more batches since.

        Raises:
            InvalidPredictionError: If the predictions have another form, or the batch cannot be scored.
            PhaseOverError: If the phase is over.
        """
        if not self.asks:
            self.online.update(predictions, batch)

    def close(self) -> None:
        """End the phase: its loaders yield nothing any more."""
        self.online.settle()
        self.train.close()
        if self.validation is not None:
            self.validation.close()

    def state_dict(self) -> State:
        """Position and counts, for a checkpoint inside the phase."""
        return {"train": self.train.state_dict(), "online": self.online.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Continue inside the phase."""
        self.train.load_state_dict(state["train"])
        self.online.load_state_dict(state["online"])

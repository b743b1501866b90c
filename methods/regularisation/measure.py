"""The interface between a penalty on weights and the measure of their importance."""

from abc import abstractmethod

from redwood.core.state import Stateful
from redwood.methods.regularisation.quadratic_penalty import Weights
from redwood.methods.training.step import Step


class Measure(Stateful):
    """Measures how important each weight is for the task in training.

    `WeightImportance` calls the hooks below in their order.
    """

    def begin_task(self) -> None:
        """A task starts."""

    def after_loss(self, step: Step) -> None:
        """The loss of a step is known."""

    def before_optimizer_step(self) -> None:
        """Gradients are complete, and no weight has moved."""

    def after_batch(self) -> None:
        """The batch is over. Weights have moved, unless gradients are accumulated over several batches."""

    @abstractmethod
    def importance(self) -> Weights:
        """See `WeightImportance.importance`."""

    def end_task(self) -> None:
        """The penalty knows the importance of the finished task."""

"""When a network grows by what its loss shows, as a callback of Lightning."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback

if TYPE_CHECKING:
    from redwood.methods.architecture.widen import Widen


class GrowOnEvent(Callback):
    """Looks at the loss of each new mini-batch after the step on it."""

    def __init__(self, method: "Widen") -> None:
        self._method = method

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the network grow if the loss shows a change."""
        train = self._method.phase.train
        is_new = batch_idx % (len(train) // train.steps_per_pass) == 0
        if is_new and self._method.note_loss(outputs["loss"]):
            self._method.grow(trainer)

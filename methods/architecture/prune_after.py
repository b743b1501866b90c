"""When PackNet prunes, as a callback of Lightning."""

from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback

if TYPE_CHECKING:
    from redwood.methods.architecture.packnet import PackNet


class PruneAfter(Callback):
    """Prunes once, so that a share of the phase's steps is left."""

    def __init__(self, method: "PackNet", share_left: float) -> None:
        self._method, self._share_left = method, share_left

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Prune if it is time."""
        steps = trainer.estimated_stepping_batches
        if not self._method.pruned and trainer.global_step >= steps - int(self._share_left * steps):
            self._method.prune()

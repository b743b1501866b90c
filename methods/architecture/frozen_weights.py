"""Single entries of weights that training leaves as they are, as a callback of Lightning."""

from typing import Any

from pytorch_lightning import Callback

from redwood.methods.architecture.masked_update import MaskedUpdate


class FrozenWeights(MaskedUpdate, Callback):
    """Puts frozen entries back after each step of a Trainer, bit for bit."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Freeze; a checkpoint has been loaded by now, if there is one."""
        self.freeze()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Undo what the optimizer did to frozen entries."""
        self.restore()

"""Early stopping: the end of a phase that does not improve any more, with its best weights."""

from gymnasium.spaces import Box, MultiBinary
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor, nn
from typing_extensions import override

from redwood.core.state import State
from redwood.engine.progress import Reporter
from redwood.settings.scores.answers import Space


class EarlyEnd(EarlyStopping):
    """Lightning's early stopping, which also keeps the network with the best score on held-out samples.

    The score is the one that `LearnerModule.validation_step` logs after each pass. The best weights are part of the
    checkpoint. All workers see the same score, and stop together.

    Attributes:
        best: The network's state at the best score so far; None before the first one.
    """

    def __init__(self, network: nn.Module, patience: int, action_space: Space, reporter: Reporter) -> None:
        """Stop after `patience` passes without a better score, and tell `reporter`."""
        monitor, mode = _measure(action_space)
        # The loss in the logs tells whether a training diverged.
        super().__init__(monitor, patience=patience, mode=mode, check_finite=False, check_on_train_epoch_end=False)
        self._network, self._reporter = network, reporter
        self.best: dict[str, Tensor] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A checkpoint of the last validation does not say that it was the last one.
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self.wait_count == 0:
            self.best = {name: value.detach().clone() for name, value in self._network.state_dict().items()}

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._reporter.phase_shortened(trainer.fit_loop.total_batch_idx + 1)
        if self.best is not None:
            self._network.load_state_dict(self.best)

    @override
    def state_dict(self) -> State:
        return super().state_dict() | {"best": self.best}

    @override
    def load_state_dict(self, state_dict: State) -> None:
        super().load_state_dict(state_dict)
        self.best = state_dict["best"]


def _measure(action_space: Space) -> tuple[str, str]:
    """Name of the score of held-out samples, and whether the largest or the smallest is the best."""
    if isinstance(action_space, Box):
        return "validation_mse", "min"
    if isinstance(action_space, MultiBinary):
        return "validation_loss", "min"
    return "validation_accuracy", "max"

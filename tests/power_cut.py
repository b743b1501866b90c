"""The end of a process in the middle of a phase, for runs that are resumed."""

from typing import Any

from pytorch_lightning import Callback


class PowerCut(BaseException):
    """The process ends here."""


class CutAt(Callback):
    """Cuts the power before a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise PowerCut

"""Single entries of weights that training leaves as they are."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import Callback
from torch import Tensor, nn


class FrozenWeights(Callback):
    """Puts frozen entries back after each step, bit for bit.

    To set their gradients to zero would not do: momentum, weight decay and Adam's moments move weights that have none.
    """

    def __init__(self, choose: Callable[[], Iterable[tuple[nn.Parameter, Tensor]]]) -> None:
        """Freeze what `choose` returns: parameters, and for each which entries (bool, of its shape)."""
        self._choose = choose
        self._held: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Freeze; a checkpoint has been loaded by now, if there is one."""
        self.hold()

    def hold(self) -> None:
        """Choose once more, and freeze that where it is now."""
        self._held = [(p, frozen, p.detach().clone()) for p, frozen in self._choose() if bool(frozen.any())]

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Undo what the optimizer did to frozen entries."""
        for parameter, frozen, values in self._held:
            parameter.copy_(torch.where(frozen, values, parameter))

"""Single entries of weights that training leaves as they are."""

from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor, nn


class HeldWeights:
    """Puts frozen entries back, bit for bit.

    To set their gradients to zero would not do: momentum, weight decay and Adam's moments move weights that have none.
    """

    def __init__(self, choose: Callable[[], Iterable[tuple[nn.Parameter, Tensor]]]) -> None:
        """Freeze what `choose` returns: parameters, and for each which entries (bool, of its shape)."""
        self._choose = choose
        self._held: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def hold(self) -> None:
        """Choose once more, and freeze that where it is now."""
        self._held = [(p, frozen, p.detach().clone()) for p, frozen in self._choose() if bool(frozen.any())]

    @torch.no_grad()
    def put_back(self, moved: Container[nn.Parameter] | None = None) -> None:
        """Undo what an optimizer did to frozen entries, of all parameters or of those that it moved."""
        for parameter, frozen, values in self._held:
            if moved is None or parameter in moved:
                parameter.copy_(torch.where(frozen, values, parameter))

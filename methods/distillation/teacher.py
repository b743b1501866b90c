"""The network as earlier tasks left it, which later ones learn from."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from redwood.methods.training.flops import FlopMeter


class Teacher:
    """A frozen copy of a network, and which of its outputs have been trained.

    Attributes:
        known: The outputs that the copy has been trained on (K,), bool, on the CPU.
        network: The copy, in evaluation mode; None as long as no task has ended.
    """

    def __init__(self, n_outputs: int, flops: "FlopMeter") -> None:
        """Know nothing; what answers cost is told to `flops`."""
        self.known = torch.zeros(n_outputs, dtype=torch.bool)
        self.network: nn.Module | None = None
        self._flops = flops

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (B, K) of samples (B, ...), without a gradient."""
        assert self.network is not None
        self._flops.note(len(x))
        outputs: Tensor = self.network(x)
        return outputs

    def copy(self, network: nn.Module, trained: Tensor) -> None:
        """Stand for a network from now on, in which the outputs `trained` (K,) have been trained, too."""
        self.known = self.known | trained
        self.network = deepcopy(network).requires_grad_(False).eval()

    @property
    def nbytes(self) -> int:
        """Bytes of the copy."""
        return 0 if self.network is None else sum(value.nbytes for value in self.network.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """Weights and known outputs."""
        return {"known": self.known.clone(), "network": None if self.network is None else self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any], like: nn.Module) -> None:
        """Go on from a state; the network is built as `like` is."""
        self.known, self.network = state["known"].clone(), None
        if state["network"] is not None:
            self.network = deepcopy(like).requires_grad_(False).eval()
            self.network.load_state_dict(state["network"])


@contextmanager
def outputs_kept(network: nn.Module, x: Tensor) -> Iterator[list[Tensor]]:
    """Collect what `network` makes of `x` in the body, which computes it anyway; the list may stay empty."""
    kept: list[Tensor] = []

    def keep(network: nn.Module, args: tuple[Tensor, ...], outputs: Tensor) -> None:
        if args[0] is x:
            kept.append(outputs)

    handle = network.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()

"""Weights of which training changes some entries and leaves the others: masks, and the owner of each entry."""

from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor


class MaskedUpdate:
    """Restores frozen entries of weights after each step of an optimizer, bit for bit.

    Gradients of zero would not suffice: momentum, weight decay and Adam's moments move such weights, too.
    """

    def __init__(self, choose: Callable[[], Iterable[tuple[Tensor, Tensor]]]) -> None:
        """Use `choose` to find the frozen entries: parameters, each with its mask (bool, of its shape)."""
        self._choose = choose
        self._frozen: list[tuple[Tensor, Tensor, Tensor]] = []

    def freeze(self) -> None:
        """Choose the frozen entries, and note their values."""
        self._frozen = [(p, frozen, p.detach().clone()) for p, frozen in self._choose() if bool(frozen.any())]

    @torch.no_grad()
    def restore(self, moved: Container[Tensor] | None = None) -> None:
        """Undo the changes of frozen entries, of all parameters or of those in `moved`."""
        for parameter, frozen, values in self._frozen:
            if moved is None or parameter in moved:
                parameter.copy_(torch.where(frozen, values, parameter))


FREE = 0


def empty_owner_map(weights: Tensor) -> Tensor:
    """The owner of each entry, where all are free: int16, of the shape of `weights`."""
    return torch.zeros(weights.shape, dtype=torch.int16, device=weights.device)


@torch.no_grad()
def keep_largest(weights: Tensor, owner: Tensor, mine: int, prune_share: float) -> None:
    """Keep the largest of a layer's free weights, and set the other free weights to 0.

    Args:
        weights: The layer's weights.
        owner: The owner of each entry, of the same shape; `mine` is written for kept entries.
        mine: The new owner: 1 for the first phase, ...
        prune_share: Share of the free entries that is set to 0.
    """
    owners = owner.view(-1)
    free = (owners == FREE).nonzero()[:, 0]
    # Stable, so that workers with equal weights keep the same ones.
    order = weights.view(-1)[free].abs().sort(stable=True).indices
    n_pruned = int(prune_share * len(free))
    owners[free[order[n_pruned:]]] = mine
    weights.view(-1)[free[order[:n_pruned]]] = 0


def frozen_entries(owner: Tensor, mine: int, *, pruned: bool) -> Tensor:
    """Return the mask of fixed entries: those of earlier phases; after pruning, all but the phase's own."""
    return owner != mine if pruned else owner != FREE


def weights_until(weights: Tensor, owner: Tensor, last: int) -> Tensor:
    """The weights of the phases up to `last`, by owner; 0 elsewhere."""
    return torch.where((owner != FREE) & (owner <= last), weights, 0)

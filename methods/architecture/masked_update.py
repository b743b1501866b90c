"""Single entries of weights that training leaves as they are."""

from collections.abc import Callable, Container, Iterable

import torch
from torch import Tensor, nn


class MaskedUpdate:
    """Puts frozen entries back, bit for bit.

    To set their gradients to zero would not do: momentum, weight decay and Adam's moments move weights that have none.
    """

    def __init__(self, choose: Callable[[], Iterable[tuple[nn.Parameter, Tensor]]]) -> None:
        """Freeze what `choose` returns: parameters, and for each which entries (bool, of its shape)."""
        self._choose = choose
        self._held: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    def freeze(self) -> None:
        """Choose once more, and freeze that where it is now."""
        self._held = [(p, frozen, p.detach().clone()) for p, frozen in self._choose() if bool(frozen.any())]

    @torch.no_grad()
    def restore(self, moved: Container[nn.Parameter] | None = None) -> None:
        """Undo what an optimizer did to frozen entries, of all parameters or of those that it moved."""
        for parameter, frozen, values in self._held:
            if moved is None or parameter in moved:
                parameter.copy_(torch.where(frozen, values, parameter))


FREE = 0


def empty_owner_map(weights: Tensor) -> Tensor:
    """The owners of weights all of which are free: int16, of their shape."""
    return torch.zeros(weights.shape, dtype=torch.int16, device=weights.device)


@torch.no_grad()
def keep_largest(weights: Tensor, owner: Tensor, mine: int, prune_share: float) -> None:
    """Keep the largest of a layer's free weights, and set the others to 0, which stay free.

    Args:
        weights: The layer's weights.
        owner: Whose they are, of the same shape; those that are kept are marked.
        mine: Who keeps them: 1 for the first phase, ...
        prune_share: Share of the free ones that is not kept.
    """
    owners = owner.view(-1)
    free = (owners == FREE).nonzero()[:, 0]
    # Stable, so that workers with equal weights keep the same ones.
    order = weights.view(-1)[free].abs().sort(stable=True).indices
    n_pruned = int(prune_share * len(free))
    owners[free[order[n_pruned:]]] = mine
    weights.view(-1)[free[order[:n_pruned]]] = 0


def frozen_entries(owner: Tensor, mine: int, *, pruned: bool) -> Tensor:
    """What training must not change: weights of earlier phases; after pruning all that is not the phase's own."""
    return owner != mine if pruned else owner != FREE


def weights_until(weights: Tensor, owner: Tensor, last: int) -> Tensor:
    """The weights that some phase and those before it own; 0 elsewhere."""
    return torch.where((owner != FREE) & (owner <= last), weights, 0)

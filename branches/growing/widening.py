"""Give a layer more units without changing the function of the network, and carry the optimizer's state over.

Three ways to do so: `net2wider` (Chen et al., 2016, "Net2Net", section 2.1), `zero_outgoing` and `near_zero`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.methods.architecture.chains import Pair, set_weight

# The entries of Adam's state that hold squares of gradients.
SQUARES = ("exp_avg_sq", "max_exp_avg_sq")


@dataclass(frozen=True)
class Units:
    """The units of a widened layer.

    Attributes:
        source: For each of them (m,) the number of the old unit that it continues or copies, -1 for a new one. The old
            units come first, in their order.
    """

    source: Tensor

    @property
    def n_old(self) -> int:
        """The number of units that the layer had."""
        return int(self.source.max()) + 1

    @property
    def copies(self) -> Tensor:
        """The number of equal units that each unit belongs to (m,); 1 for new ones."""
        counts = torch.bincount(self.source.clamp(min=0)[self.source >= 0], minlength=self.n_old)
        return torch.where(self.source >= 0, counts[self.source.clamp(min=0)], 1)

    def carry_over(self, values: Tensor, *, dim: int, power: int) -> Tensor:
        """Values that belong to units, for the widened layer: copied, divided by `copies ** power`, 0 for new units.

        Args:
            values: Along `dim` equally many consecutive elements belong to each old unit.
            dim: Which dimension it is.
            power: How often to divide.
        """
        source = self.source.to(values.device)
        blocks = values.unflatten(dim, (self.n_old, -1)).index_select(dim, source.clamp(min=0))
        factor = ((self.source >= 0) / self.copies**power).to(values)
        carried: Tensor = blocks * factor.view(-1, *[1] * (blocks.dim() - dim - 1))
        return carried.flatten(dim, dim + 1)


def net2wider(n_old: int, n_new: int, random: torch.Generator) -> Units:
    """Each new unit is a copy of a random old one; equal units share its outgoing weights out among them."""
    return Units(torch.cat([torch.arange(n_old), torch.randint(n_old, (n_new,), generator=random)]))


def zero_outgoing(n_old: int, n_new: int, random: torch.Generator) -> Units:
    """The new units have fresh incoming weights, and outgoing weights of zero, which the first gradients change."""
    return Units(torch.cat([torch.arange(n_old), torch.full((n_new,), -1)]))


WIDENINGS: Mapping[str, Callable[[int, int, torch.Generator], Units]] = {
    "zero_outgoing": zero_outgoing,
    "net2wider": net2wider,
    "near_zero": zero_outgoing,
}
# Standard deviation of the incoming weights of new units.
NEAR_ZERO = 1e-3


class Change(NamedTuple):
    """One weight tensor of a widened pair of layers.

    Attributes:
        old: The tensor before.
        new: The tensor that has taken its place.
        units: The units of the widened layer.
        dim: The dimension of the tensor that belongs to them: 0 of incoming weights, 1 of outgoing ones.
    """

    old: nn.Parameter
    new: nn.Parameter
    units: Units
    dim: int

    def carry_over(self, values: Tensor, degree: int) -> Tensor:
        """Return values of `degree` 1 (2) in the gradients as they would be if the network had always been so wide.

        Equal units divide the gradient that comes back through their outgoing weights, but each gets the whole input.
        """
        return self.units.carry_over(values, dim=self.dim, power=degree if self.dim == 0 else 0)


def widen(
    pair: Pair, units: Units, random: torch.Generator, noise: float = 0.0, fresh_std: float | None = None
) -> list[Change]:
    """Give the first layer of a pair more units; its parameters and the second's weight become new ones.

    Args:
        pair: The layers.
        units: The units of the widened first layer.
        random: Draws the incoming weights of new units: U(-b, b) with b = 1 / sqrt(fan in), as torch's own.
        noise: Standard deviation of the noise on the incoming weights of copies, as a share of that of all incoming
            weights. Without it (or dropout) equal units get equal gradients, and stay equal.
        fresh_std: Draw the incoming weights of new units from a normal distribution of this standard deviation instead.

    Returns:
        The changed tensors.
    """
    layer, after = pair.layer, pair.after
    bound = layer.weight[0].numel() ** -0.5
    copied = (units.source >= 0) & (torch.arange(len(units.source)) >= units.n_old)
    spread = noise * float(layer.weight.detach().std())
    changes = []
    for name, old in list(layer.named_parameters()):
        wide = units.carry_over(old.detach(), dim=0, power=0)
        fresh, n_copied = units.source < 0, int(copied.sum())
        if fresh_std is None:
            drawn = bound * (2 * torch.rand(wide[fresh].shape, generator=random) - 1)
        else:
            drawn = fresh_std * torch.randn(wide[fresh].shape, generator=random)
        wide[fresh] = drawn.to(wide)
        if name == "weight" and spread:
            wide[copied] += (spread * torch.randn((n_copied, *wide.shape[1:]), generator=random)).to(wide)
        changes.append(Change(old, set_weight(layer, name, wide), units, dim=0))
    read = after.weight
    assert isinstance(read, nn.Parameter)
    wide = units.carry_over(read.detach(), dim=1, power=1)
    return [*changes, Change(read, set_weight(after, "weight", wide), units, dim=1)]


def use_of_units(pair: Pair) -> Tensor:
    """Return the use of each unit of the first layer (m,), from 0 to 1, by the product of its weights' norms.

    Units that are hardly read are idle: training never took them up.
    """
    incoming = pair.layer.weight.detach().flatten(1).norm(dim=1)
    read = pair.after.weight.detach().unflatten(1, (pair.n_units, -1)).transpose(0, 1)
    use: Tensor = incoming * read.flatten(1).norm(dim=1)
    return use / use.max().clamp(min=torch.finfo(use.dtype).tiny)


def carry_over_state(optimizer: Optimizer, changes: Sequence[Change]) -> None:
    """Let an optimizer go on with the widened tensors; its state becomes that of a network so wide.

    Moments of new units are zero. With Adam their first step is up to (1 - beta1) / sqrt(1 - beta2) = 3.2 times the
    learning rate, since the count of steps is that of the whole tensor.
    """
    for change in changes:
        for group in optimizer.param_groups:
            group["params"] = [change.new if p is change.old else p for p in group["params"]]
        state = optimizer.state.pop(change.old, None)
        if state is not None:
            optimizer.state[change.new] = {
                name: change.carry_over(value, 2 if name in SQUARES else 1)
                if isinstance(value, Tensor) and value.shape == change.old.shape
                else value
                for name, value in state.items()
            }

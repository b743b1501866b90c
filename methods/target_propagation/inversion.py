"""Ways back through the layers of a network: the feedback modules G of difference target propagation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce, singledispatch
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.row import parts_of


def blocks_of(network: nn.Module) -> list[nn.Sequential]:
    """Cut a network into blocks: each begins with a layer that has weights, and goes on until the next one.

    What comes before the first such layer (scaling, flattening) is in no block.
    """
    layers = list(parts_of(network))
    starts = [n for n, layer in enumerate(layers) if next(layer.parameters(), None) is not None]
    return [nn.Sequential(*layers[start:stop]) for start, stop in pairwise([*starts, len(layers)])]


@dataclass
class Seen:
    """What went through a network while it was cut.

    Attributes:
        outputs: For each block its output (B, ...) in each pass, which depends on this block's weights only.
        scores: The network's output (B, K) in each pass, as a leaf: it depends on nothing.
    """

    outputs: list[list[Tensor]]
    scores: list[Tensor] = field(default_factory=list)


@contextmanager
def cut(network: nn.Module, blocks: list[nn.Sequential]) -> Iterator[Seen]:
    """Let no gradient pass between the blocks of a network, nor out of the last one, for a while.

    Args:
        network: It is called in the body as it is otherwise.
        blocks: What `blocks_of` made of it.
    """
    seen = Seen([[] for _ in blocks])

    def end_of(outputs: list[Tensor], layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs.append(args[0])
        return (args[0].detach(),)

    def end(network: nn.Module, args: tuple[Tensor, ...], scores: Tensor) -> Tensor:
        seen.outputs[-1].append(scores)
        seen.scores.append(scores.detach().requires_grad_())
        return seen.scores[-1]

    handles = [
        block[0].register_forward_pre_hook(partial(end_of, outputs))
        for outputs, block in zip(seen.outputs, blocks[1:], strict=False)
    ]
    handles.append(network.register_forward_hook(end))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


# Maps outputs of a layer (B, ...) to its input space (B, ...).
WayBack = Callable[[Tensor], Tensor]


class Inverse(nn.Module, ABC):
    """The way back through a layer F, with weights of its own; `invert` makes it for each kind of layer."""

    @abstractmethod
    def at(self, x: Tensor) -> WayBack:
        """The map back from around F(x), for samples x (B, ...) as F gets them.

        It depends on x by what a layer does not hand on: shapes, and which of several values were the largest.
        """


class LayerBack(Inverse):
    """Back by a layer of the same kind; it has no bias, of which differences of targets would keep nothing."""

    def __init__(self, layer: nn.Linear | nn.ConvTranspose2d) -> None:
        """Go back by `layer`."""
        super().__init__()
        self.layer = layer

    def at(self, x: Tensor) -> WayBack:
        """The layer; what a stride has rounded off is told to it."""
        if isinstance(self.layer, nn.ConvTranspose2d):
            return partial(self.layer, output_size=x.shape[2:])
        return self.layer


class ActivationBack(Inverse):
    """Back by the activation itself."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        """Go back by `function`, which works elementwise."""
        super().__init__()
        self._function = function

    def at(self, x: Tensor) -> WayBack:
        """The activation."""
        return self._function


class RectifierBack(Inverse):
    """Back to the inputs that were larger than 0, as from a maximum to the one value that it was.

    The rectifier itself, as the paper goes back through ELU, would let half of all changes pass to those that were not.
    """

    def at(self, x: Tensor) -> WayBack:
        """Multiply by 1 where x > 0, by 0 elsewhere."""
        return partial(torch.mul, (x > 0).to(x.dtype))


class PoolingBack(Inverse):
    """Back to where each maximum was."""

    def __init__(self, pooling: nn.MaxPool2d) -> None:
        """Go back from the maxima of `pooling`."""
        super().__init__()
        self._pooling = pooling

    def at(self, x: Tensor) -> WayBack:
        """Put each value where the maximum of x was, 0 elsewhere."""
        p = self._pooling
        _, indices = F.max_pool2d(
            x, p.kernel_size, p.stride, p.padding, p.dilation, ceil_mode=p.ceil_mode, return_indices=True
        )

        def scatter(y: Tensor) -> Tensor:
            # Not max_unpool2d: where windows overlap, one value may be the maximum of several, whose changes add up.
            flat = y.new_zeros(*x.shape[:2], x.shape[2] * x.shape[3])
            return flat.scatter_add(2, indices.flatten(2), y.flatten(2)).view(x.shape)

        return scatter


class FlattenBack(Inverse):
    """Back to the shape before."""

    def at(self, x: Tensor) -> WayBack:
        """Give the samples the shape of x again."""
        return lambda y: y.reshape(x.shape)


class ChainBack(Inverse):
    """Back through several layers, the last one first."""

    def __init__(self, layers: nn.Sequential) -> None:
        """Go back through `layers`."""
        super().__init__()
        self.inverses = nn.ModuleList(map(invert, layers))
        # In a tuple: they are no part of the way back, and their weights are not trained with its own.
        self._layers = tuple(layers)

    def at(self, x: Tensor) -> WayBack:
        """The layers' maps one after the other, each around its own input."""
        ways: list[WayBack] = []
        with torch.no_grad():
            for layer, inverse in zip(self._layers, self.inverses, strict=True):
                assert isinstance(inverse, Inverse)
                ways.append(inverse.at(x))
                x = layer(x)
        return lambda y: reduce(lambda value, way: way(value), reversed(ways), y)


@singledispatch
def invert(layer: nn.Module) -> Inverse:
    """The way back through a layer, with random weights drawn from torch's global generator.

    Raises:
        InvalidOptionError: If there is none for such a layer.
    """
    raise InvalidOptionError(
        f"Target propagation knows no way back through {type(layer).__name__}, only through linear and convolution "
        "layers, ReLU, ELU, max pooling and flattening one after the other; choose --model mlp or --model simple_cnn."
    )


@invert.register
def _(layer: nn.Sequential) -> Inverse:
    return ChainBack(layer)


@invert.register
def _(layer: nn.Linear) -> Inverse:
    return LayerBack(nn.Linear(layer.out_features, layer.in_features, bias=False))


def _two(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


@invert.register
def _(layer: nn.Conv2d) -> Inverse:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise InvalidOptionError(
            "Target propagation knows no way back through a convolution with padding "
            f"{layer.padding!r} of mode {layer.padding_mode!r}; give it a number of pixels, filled with zeros."
        )
    return LayerBack(
        nn.ConvTranspose2d(
            layer.out_channels,
            layer.in_channels,
            _two(layer.kernel_size),
            _two(layer.stride),
            _two(layer.padding),
            groups=layer.groups,
            bias=False,
            dilation=_two(layer.dilation),
        )
    )


@invert.register
def _(layer: nn.ReLU) -> Inverse:
    return RectifierBack()


@invert.register
def _(layer: nn.ELU) -> Inverse:
    return ActivationBack(partial(F.elu, alpha=layer.alpha))


@invert.register
def _(layer: nn.MaxPool2d) -> Inverse:
    return PoolingBack(layer)


@invert.register
def _(layer: nn.Flatten) -> Inverse:
    return FlattenBack()

"""Feedback modules G of difference target propagation: each maps outputs of a layer back to its inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce, singledispatch
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks.row import parts_of


def blocks_of(network: nn.Module) -> list[nn.Sequential]:
    """Cut a network into blocks: each begins with a layer that has weights, and ends before the next such layer.

    Modules before the first such layer (scaling, flattening) are in no block.
    """
    layers = list(parts_of(network))
    starts = [n for n, layer in enumerate(layers) if next(layer.parameters(), None) is not None]
    return [nn.Sequential(*layers[start:stop]) for start, stop in pairwise([*starts, len(layers)])]


@dataclass
class Seen:
    """The outputs of a network whose blocks were cut apart.

    Attributes:
        outputs: For each block its output (B, ...) in each pass, which depends on this block's weights only.
        scores: The network's output (B, K) in each pass, as a leaf of the graph.
    """

    outputs: list[list[Tensor]]
    scores: list[Tensor] = field(default_factory=list)


@contextmanager
def cut(network: nn.Module, blocks: list[nn.Sequential]) -> Iterator[Seen]:
    """Within the context, let no gradient pass between the blocks of a network, or out of the last block.

    Args:
        network: The body calls it as usual.
        blocks: The result of `blocks_of`.
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
FeedbackMap = Callable[[Tensor], Tensor]


class FeedbackModule(nn.Module, ABC):
    """The feedback G of a layer F, with its own weights; `make_feedback` makes it for each kind of layer."""

    @abstractmethod
    def at(self, x: Tensor) -> FeedbackMap:
        """The feedback near F(x), for inputs x (B, ...) of F.

        It needs x for information that the output of F does not contain: shapes, and the position of each maximum.
        """


class LayerFeedback(FeedbackModule):
    """The feedback of a linear layer or a convolution: a layer without a bias, which would cancel in differences."""

    def __init__(self, layer: nn.Linear | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        # A stride rounds sizes down, so a convolution needs the size of its output.
        if isinstance(self.layer, nn.ConvTranspose2d):
            return partial(self.layer, output_size=x.shape[2:])
        return self.layer


class ActivationFeedback(FeedbackModule):
    """The feedback of an activation: the same function, elementwise."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        return self._function


class ReLUFeedback(FeedbackModule):
    """The feedback of ReLU: pass changes to inputs greater than 0 only, as max pooling does to the maximum.

    The paper uses ELU as its own feedback. ReLU itself would pass half of all changes to inputs that were not positive.
    """

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        return partial(torch.mul, (x > 0).to(x.dtype))


class PoolingFeedback(FeedbackModule):
    """The feedback of max pooling: put each value where the maximum of x was, and 0 elsewhere."""

    def __init__(self, pooling: nn.MaxPool2d) -> None:
        super().__init__()
        self._pooling = pooling

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        p = self._pooling
        _, indices = F.max_pool2d(
            x, p.kernel_size, p.stride, p.padding, p.dilation, ceil_mode=p.ceil_mode, return_indices=True
        )

        def scatter(y: Tensor) -> Tensor:
            # Not max_unpool2d: one value may be the maximum of several overlapping windows, whose changes add up.
            flat = y.new_zeros(*x.shape[:2], x.shape[2] * x.shape[3])
            return flat.scatter_add(2, indices.flatten(2), y.flatten(2)).view(x.shape)

        return scatter


class FlattenFeedback(FeedbackModule):
    """The feedback of flattening: give values the shape of x."""

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        return lambda y: y.reshape(x.shape)


class ChainFeedback(FeedbackModule):
    """The feedback of several layers: that of the last layer first."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.feedback_modules = nn.ModuleList(map(make_feedback, layers))
        # In a tuple, so that their weights are not trained with those of the feedback.
        self._layers = tuple(layers)

    @override
    def at(self, x: Tensor) -> FeedbackMap:
        maps: list[FeedbackMap] = []
        with torch.no_grad():
            for layer, module in zip(self._layers, self.feedback_modules, strict=True):
                assert isinstance(module, FeedbackModule)
                maps.append(module.at(x))
                x = layer(x)
        return lambda y: reduce(lambda value, feedback: feedback(value), reversed(maps), y)


@singledispatch
def make_feedback(layer: nn.Module) -> FeedbackModule:
    """The feedback of a layer, with random weights drawn from torch's global generator.

    Raises:
        InvalidOptionError: If this kind of layer has none.
    """
    raise InvalidOptionError(
        f"Target propagation has no feedback for {type(layer).__name__}, only for linear and convolution "
        "layers, ReLU, ELU, max pooling and flattening one after the other; choose --model mlp or --model simple_cnn."
    )


@make_feedback.register
def _(layer: nn.Sequential) -> FeedbackModule:
    return ChainFeedback(layer)


@make_feedback.register
def _(layer: nn.Linear) -> FeedbackModule:
    return LayerFeedback(nn.Linear(layer.out_features, layer.in_features, bias=False))


def _two(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


@make_feedback.register
def _(layer: nn.Conv2d) -> FeedbackModule:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise InvalidOptionError(
            "Target propagation has no feedback for a convolution with padding "
            f"{layer.padding!r} of mode {layer.padding_mode!r}; give it a number of pixels, filled with zeros."
        )
    return LayerFeedback(
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


@make_feedback.register
def _(layer: nn.ReLU) -> FeedbackModule:
    return ReLUFeedback()


@make_feedback.register
def _(layer: nn.ELU) -> FeedbackModule:
    return ActivationFeedback(partial(F.elu, alpha=layer.alpha))


@make_feedback.register
def _(layer: nn.MaxPool2d) -> FeedbackModule:
    return PoolingFeedback(layer)


@make_feedback.register
def _(layer: nn.Flatten) -> FeedbackModule:
    return FlattenFeedback()

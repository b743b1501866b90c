"""A network as a row of blocks, each of which can be trained without the others' gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

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

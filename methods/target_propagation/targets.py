"""Difference target propagation with the local difference reconstruction loss, as functions of tensors.

Ernoult et al., 2022, "Towards Scaling Difference Target Propagation by Learning Backprop Targets". A network of blocks
F_0 .. F_{N-1} maps h_{i-1} to h_i = F_i(h_{i-1}); G_i is the way back through F_i, for i = 1 .. N-1.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from redwood.methods.target_propagation.inversion import WayBack


def feedback_loss(
    block: Callable[[Tensor], Tensor],
    way_back: WayBack,
    x: Tensor,
    y: Tensor,
    sigma: float,
    noise: torch.Generator,
) -> Tensor:
    """The local difference reconstruction loss L_i of one draw of noise.

    L_i = mean over samples of -2 <xi, G(F(x + xi)) - G(y)> + |G(y + eta) - G(y)|^2, with normal xi and eta of standard
    deviation sigma. Its expectation is sigma^2 |J_G - J_F^T|^2 (Frobenius norm) and a constant, up to higher powers of
    sigma: it is least where G's Jacobian is the transpose of F's.

    Args:
        block: F; it is not differentiated.
        way_back: G, whose weights the loss is differentiated by.
        x: Inputs of the block (B, ...).
        y: Its outputs F(x) (B, ...).
        sigma: Standard deviation of the noise.
        noise: Where it is drawn from, on the device of x.

    Returns:
        A scalar; sums over the features of a sample, the mean over samples.
    """
    xi, eta = (sigma * torch.randn(t.shape, generator=noise, device=t.device, dtype=t.dtype) for t in (x, y))
    with torch.no_grad():
        moved = block(x + xi)
    origin = way_back(y)
    return ((way_back(y + eta) - origin).square().sum() - 2 * (xi * (way_back(moved) - origin)).sum()) / len(x)


@torch.no_grad()
def layer_targets(ways_back: Sequence[WayBack], outputs: Sequence[Tensor], last: Tensor) -> list[Tensor]:
    """The targets t_0 .. t_{N-1} of all blocks: t_{i-1} = h_{i-1} + G_i(t_i) - G_i(h_i).

    Args:
        ways_back: G_1 .. G_{N-1}.
        outputs: h_0 .. h_{N-1}, each (B, ...).
        last: The target t_{N-1} of the last block (B, K).

    Returns:
        N tensors of the outputs' shapes.
    """
    targets = [last]
    for way_back, lower, upper in zip(ways_back[::-1], outputs[-2::-1], outputs[:0:-1], strict=True):
        targets.append(lower + way_back(targets[-1]) - way_back(upper))
    return targets[::-1]


def local_losses(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """1/2 |h_i - t_i|^2 of each block (N,), sums over features and means over samples.

    Differentiated by a block's weights it says how to move them, if h_i was computed on an input that is cut off from
    the block below.
    """
    halves = [(h - t).square().sum() / (2 * len(h)) for h, t in zip(outputs, targets, strict=True)]
    return torch.stack(halves)

"""Losses that keep a network's outputs close to those of another one, its teacher."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def kd(outputs: Tensor, taught: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 * KL(softmax(taught / T) || softmax(outputs / T)) (Hinton et al., 2015), of each sample (B,).

    The factor T^2 keeps the gradients from shrinking as the temperature grows. At a high temperature, the loss is half
    the squared distance of the centred outputs, divided by the number of outputs.

    Args:
        outputs: Scores (B, K), before any softmax.
        taught: Scores (B, K) of the teacher.
        temperature: T, greater than 0; a higher one gives the outputs that are not the highest more weight.
    """
    log_p, log_q = F.log_softmax(taught / temperature, 1), F.log_softmax(outputs / temperature, 1)
    return temperature**2 * _kl(log_p, log_q)


def jskd(outputs: Tensor, taught: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 times the Jensen-Shannon divergence of the same two distributions (Zeng et al., 2023), of each sample (B,).

    It is the mean of their divergences from the mixture of both, at most log 2, however far the network is from the
    teacher. The arguments are those of `kd`.
    """
    log_p, log_q = F.log_softmax(taught / temperature, 1), F.log_softmax(outputs / temperature, 1)
    log_mixture = torch.logaddexp(log_p, log_q) - torch.log(log_p.new_tensor(2.0))
    return temperature**2 * (_kl(log_p, log_mixture) + _kl(log_q, log_mixture)) / 2


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) (B,) of distributions (B, K) given by their logarithms."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


DIVERGENCES: dict[str, Callable[..., Tensor]] = {"kl": kd, "js": jskd}


def old_share(n_old: int, n_new: int) -> float:
    """Share of the classes that are old ones: the lambda of `two_side`."""
    return n_old / (n_old + n_new)


def two_side(loss: Tensor, distilled: Tensor, share: float) -> Tensor:
    """(1 - share) * loss + share * distilled: the more has been learned, the more counts that it is kept.

    Large-scale incremental learning (Wu et al., 2019) and weight aligning (Zhao et al., 2020) minimise it.

    Args:
        loss: Cross-entropy over all classes, of any shape.
        distilled: Distance from the teacher, of the same shape.
        share: lambda in [0, 1], such as `old_share`.
    """
    return (1 - share) * loss + share * distilled


def sigmoid_distillation(
    outputs: Tensor, y: Tensor, taught: Tensor | None, old: Tensor, seen: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Classification and distillation in one binary cross-entropy (Rebuffi et al., 2017, algorithm 3); a scalar.

    It is summed over the classes seen so far; old ones have the teacher's answers as targets, for all samples. The sum
    over samples is a mean here.

    Args:
        outputs: Scores (B, K), before any sigmoid.
        y: Labels (B,).
        taught: Scores (B, K) of the teacher; None if there is none yet.
        old: Which classes the teacher's answers count for (K,), bool.
        seen: Which classes have been seen so far (K,), bool.
        weights: The weight of each sample (B,); None if all count alike.
    """
    targets = F.one_hot(y, outputs.shape[1]).to(outputs.dtype)
    if taught is not None:
        targets = torch.where(old, taught.sigmoid(), targets)
    losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    losses = (losses * seen).sum(1)
    return (losses if weights is None else losses * weights).mean()

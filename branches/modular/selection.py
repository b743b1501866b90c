"""Choose among candidates by held-out samples, with a margin against reuse that harms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redwood.core.seeding import generator

RESAMPLES = 1000


@dataclass(frozen=True)
class HeldOutScores:
    """The scores of candidates on held-out samples.

    Attributes:
        losses: Cross-entropy (C, n) of each candidate and sample.
        correct: Whether the candidate is right (C, n), bool.
    """

    losses: Tensor
    correct: Tensor

    @property
    def errors(self) -> Tensor:
        """The expected errors (C, n) if classes were drawn from the predicted probabilities: 1 - p(y).

        They say more than accuracies of few samples. In the cross-entropy a sure mistake weighs more than another
        mistake; here it does not.
        """
        return 1 - (-self.losses).exp()

    @property
    def accuracy(self) -> Tensor:
        """The accuracy (C,) of each candidate."""
        return self.correct.double().mean(1)


def no_worse(errors: Tensor, reference: Tensor, margin: float, seed: int) -> float:
    """Return how often a candidate is worse than another one by at most `margin`: a bootstrap test of non-inferiority.

    The samples are drawn anew with replacement (Efron, 1979, "Bootstrap Methods: Another Look at the Jackknife"), and
    the differences stay paired.

    Args:
        errors: Errors of the candidate (n,).
        reference: Errors of the other one (n,), for the same samples.
        margin: By how much the mean may be larger.
        seed: Seed of the draws.

    Returns:
        The share of `RESAMPLES` draws in which it is worse by at most `margin`, in [0, 1].
    """
    differences = (errors - reference).double().cpu()
    random, n = generator(seed, "bootstrap"), len(differences)
    # One draw at a time: all of them at once would take much memory for many samples.
    means = torch.stack([differences[torch.randint(n, (n,), generator=random)].mean() for _ in range(RESAMPLES)])
    return float((means <= margin).double().mean())


def deepest_reuse(errors: Tensor, reused: Sequence[int], margin: float, confidence: float, seed: int) -> int:
    """Return the candidate with the most modules taken over, of those no worse than new modules and than the best.

    Args:
        errors: Expected errors (C, n); the first candidate consists of new modules.
        reused: Number of modules that each candidate takes over.
        margin: By how much the mean error may be larger.
        confidence: The least share of draws by `no_worse` against new modules.
        seed: Seed of the bootstrap.

    Returns:
        Its number.
    """
    means = errors.mean(1).tolist()
    sure = [i for i in range(1, len(errors)) if no_worse(errors[i], errors[0], margin, seed) >= confidence]
    best = min(means[i] for i in [0, *sure])
    good = [i for i in [0, *sure] if means[i] <= best + margin]
    return max(good, key=lambda i: (reused[i], -means[i]))


def highest_accuracy(scores: HeldOutScores) -> int:
    """The candidate with the highest accuracy; of equal ones the one with the lowest loss, or else the first."""
    ranks = zip((-scores.accuracy).tolist(), scores.losses.mean(1).tolist(), strict=True)
    return min(enumerate(ranks), key=lambda entry: entry[1])[0]

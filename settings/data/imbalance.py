"""Class shares that differ: which training samples are kept (the option `--imbalance`)."""

import math

import torch
from torch import Tensor

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import generator
from redwood.settings.data.dataset import Dataset

LONG_TAIL, DIRICHLET = "long_tail", "dirichlet"
EXPONENT = 1.6


def check_imbalance(imbalance: str) -> None:
    """Raise `InvalidOptionError` unless the option is empty, long_tail, long_tail:RATIO or dirichlet:ALPHA."""
    if imbalance:
        _parse(imbalance)


def kept_samples(data: Dataset, imbalance: str, seed: int) -> Tensor:
    """The training samples (N,), bool, that are left of each class; test samples stay as they are.

    The share of class c among K classes, in the order of their labels, is proportional to

    - `long_tail`: 0.6 / (c + 1)^1.6 (Kim et al., 2020, "Imbalanced Continual Learning with Partitioning Reservoir
      Sampling")
    - `long_tail:RATIO`: RATIO^(-c / (K - 1)), so that the first class has RATIO times the samples of the last one (Cui
      et al., 2019, "Class-Balanced Loss Based on Effective Number of Samples")
    - `dirichlet:ALPHA`: a draw from a Dirichlet distribution with this concentration; near 0, one class has nearly all

    As many samples are kept as these shares allow. At least one sample is kept of each class, and of each class in each
    task that the data names. Samples that the data keeps for validation all stay.

    Args:
        data: A data set with classes.
        imbalance: The option, which has been checked.
        seed: Draws the samples, and the shares from a Dirichlet distribution.
    """
    random = generator(seed, "imbalance")
    trained = torch.ones_like(data.y, dtype=torch.bool) if data.validation is None else ~data.validation
    available = data.y[trained].bincount(minlength=data.n_classes)
    shares = _shares(imbalance, data.n_classes, random)
    wanted = (shares * (available / shares).min()).round().long().clamp(min=1)
    kept = ~trained
    order = torch.randperm(len(data.y), generator=random)
    order = order[trained[order]]
    for label in range(data.n_classes):
        kept[order[data.y[order] == label][: wanted[label]]] = True
    return kept if data.contexts is None else kept | _first_of_each(order, data.y, data.contexts, kept & trained)


def _parse(imbalance: str) -> tuple[str, float | None]:
    """The kind, and the number behind the colon."""
    kind, colon, text = imbalance.partition(":")
    least = {LONG_TAIL: 1.0, DIRICHLET: 0.0}.get(kind)
    if kind == LONG_TAIL and not colon:
        return kind, None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if least is None or not least < value < math.inf:
        raise InvalidOptionError(
            f"--imbalance {imbalance} is unknown; choose long_tail, long_tail:RATIO with a ratio above 1, such as "
            "long_tail:100, or dirichlet:ALPHA with a number above 0, such as dirichlet:0.5."
        )
    return kind, value


def _shares(imbalance: str, n_classes: int, random: torch.Generator) -> Tensor:
    """A number (K,) for each class, above 0, that its share is proportional to; the largest is 1."""
    kind, value = _parse(imbalance)
    classes = torch.arange(n_classes, dtype=torch.float64)
    if value is None:
        return (classes + 1) ** -EXPONENT
    if kind == DIRICHLET:
        # With a small concentration, gamma variables underflow, but their logarithms do not. A variable of shape a is
        # one of shape a + 1 times u^(1/a) with a uniform u.
        concentration = torch.full((n_classes,), value, dtype=torch.float64)
        gamma = torch._standard_gamma(concentration + 1, generator=random)
        uniform = 1 - torch.rand(n_classes, dtype=torch.float64, generator=random)
        logarithms = gamma.log() + uniform.log() / concentration
        return (logarithms - logarithms.max()).clamp(min=-30).exp()
    return value ** (-classes / max(1, n_classes - 1))


def _first_of_each(order: Tensor, y: Tensor, contexts: Tensor, kept: Tensor) -> Tensor:
    """Return a mask (N,), bool, of the first sample of each pair of class and task without a kept sample."""
    pairs = y * (int(contexts.max()) + 1) + contexts
    missing = order[~torch.isin(pairs[order], pairs[kept])]
    added = torch.zeros_like(kept)
    for pair in pairs[missing].unique():
        added[missing[pairs[missing] == pair][0]] = True
    return added

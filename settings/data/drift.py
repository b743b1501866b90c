"""Generated streams whose rule drifts: linear regression, and classification by linear scores."""

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.seeding import derive_seed, generator
from redwood.settings.data.dataset import Dataset

N_FEATURES = 5
NOISE = 0.1
"""Standard deviation of the noise: the lowest possible RMSE."""
N_CLASSES = 3
N_TRAIN, N_TEST = 2000, 800
REGIMES, REGIONS = 3, 4

CONTEXTS = {"stationary": 5, "gradual": 40, "abrupt": 5, "recurring": 20, "regional": 3}
"""Kinds of drift, and the number of contexts (tasks) of equal length in each stream."""
STRENGTH = 2.0
"""Length of a rule's weights: targets vary twenty times as much as the noise."""


def drift(task: str, kind: str, data_dir: Path, seed: int, image_size: int) -> Dataset:
    """A stream of inputs x (5,), standard normal, and targets w(t) x + noise.

    Training samples come in the order of time t, cut into contexts. The test samples of a context are drawn from the
    same stretch of time.

    - `stationary`: one rule throughout
    - `gradual`: w turns steadily, in two planes of the input space, by half a turn from the first sample to the last.
      There are many short contexts. So fading from one to the next (the transition of `continual`) hardly changes the
      order
    - `abrupt`: each context has a new rule
    - `recurring`: three rules take turns from context to context, and the first input says which one it is (-3, 0, 3)
    - `regional`: inputs lie in four regions, told apart by the signs of the first two inputs (whose means are -1.5 or
      1.5). Each region has a rule of its own. At the start of each context but the first, one of the rules is replaced

    Args:
        task: `regression` (one target), or `classification` into three classes, by the largest of three noisy scores.
        kind: A key of `CONTEXTS`.
        data_dir: Not read.
        seed: Draws rules, inputs and noise.
        image_size: Not used.
    """
    name = f"drift_{task}:{kind}"
    rules = _Rules(kind, generator(derive_seed(seed, "drift", kind, "rules")))
    (x, y, t), (x_test, y_test, t_test) = (
        rules.samples(n, task, generator(derive_seed(seed, "drift", kind, split)))
        for n, split in ((N_TRAIN, "training"), (N_TEST, "test"))
    )
    return Dataset.from_arrays(x, y, x_test, y_test, t, t_test, name=name)


class _Rules:
    """Weights (3, 5) at any time in [0, 1) and place of the input space; regression goes by the first row."""

    def __init__(self, kind: str, random: torch.Generator) -> None:
        self._kind, self._contexts = kind, CONTEXTS[kind]
        self._planes = _orthogonal(random)
        self._rules = torch.stack([STRENGTH * _orthogonal(random)[:N_CLASSES] for _ in range(2 * REGIONS)])

    def samples(self, n: int, task: str, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (n, 5), targets or classes (n,), and contexts (n,), in the order of time."""
        time = (torch.arange(n) + 0.5) / n
        contexts = (time * self._contexts).long()
        x = torch.randn(n, N_FEATURES, generator=random)
        if self._kind == "recurring":
            x[:, 0] = 3.0 * (contexts % REGIMES - 1)
        if self._kind == "regional":
            x[:, :2] = 1.5 * x[:, :2].sign() + 0.5 * torch.randn(n, 2, generator=random)
        scores = torch.einsum("nkd,nd->nk", self._weights(x, time, contexts), x)
        scores += NOISE * torch.randn(scores.shape, generator=random)
        return x, scores[:, 0] if task == "regression" else scores.argmax(1), contexts

    def _weights(self, x: Tensor, time: Tensor, contexts: Tensor) -> Tensor:
        """The weights (n, 3, 5) in force for each sample."""
        if self._kind == "gradual":
            return self._rules[0] @ self._turned(math.pi * time)
        if self._kind == "recurring":
            return _without(1, self._rules[contexts % REGIMES])
        if self._kind == "regional":
            # Region r has rule r until context r + 1 replaces it by rule 4 + r.
            regions = (x[:, :2] > 0).long() @ torch.tensor([2, 1])
            return _without(2, self._rules[torch.where(contexts > regions, REGIONS + regions, regions)])
        return self._rules[contexts if self._kind == "abrupt" else torch.zeros_like(contexts)]

    def _turned(self, angles: Tensor) -> Tensor:
        """Rotations (n, 5, 5) by angles (n,) in two planes; the fifth direction stays."""
        turns = torch.eye(N_FEATURES).repeat(len(angles), 1, 1)
        for first in (0, 2):
            turns[:, first, first] = turns[:, first + 1, first + 1] = angles.cos()
            turns[:, first, first + 1] = -angles.sin()
            turns[:, first + 1, first] = angles.sin()
        return self._planes.T @ turns @ self._planes


def _without(n: int, weights: Tensor) -> Tensor:
    """Weights (m, 3, 5) under which the first `n` inputs, which tell the rule, have no effect of their own."""
    return torch.cat([torch.zeros_like(weights[:, :, :n]), weights[:, :, n:]], dim=2)


def _orthogonal(random: torch.Generator) -> Tensor:
    """A random orthogonal matrix (5, 5)."""
    basis: Tensor = torch.linalg.qr(torch.randn(N_FEATURES, N_FEATURES, generator=random)).Q
    return basis


regression_stationary = partial(drift, "regression", "stationary")
regression_gradual = partial(drift, "regression", "gradual")
regression_abrupt = partial(drift, "regression", "abrupt")
regression_recurring = partial(drift, "regression", "recurring")
regression_regional = partial(drift, "regression", "regional")
classification_stationary = partial(drift, "classification", "stationary")
classification_gradual = partial(drift, "classification", "gradual")
classification_abrupt = partial(drift, "classification", "abrupt")
classification_recurring = partial(drift, "classification", "recurring")
classification_regional = partial(drift, "classification", "regional")

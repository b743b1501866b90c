"""RanPAC (McDonnell et al., 2023, "RanPAC: Random Projections and Pre-trained Models for Continual Learning")."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.streaming.statistics import StreamingMethod, Sums
from redwood.core.checks import check_range
from redwood.core.seeding import generator
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting

HOLD_OUT = 5
# Samples before lambda is chosen for the first time.
FIRST_CHOICE = 100


@dataclass
class RanPAC(StreamingMethod):
    """Ridge regression of the classes on random features relu(f W), with W drawn once from a normal distribution.

    The sums are the Gram matrix G of the random features (M, M), and their sums C by class (M, K). Scores are
    h (G + lambda I)^-1 C (equations 3 to 5). The paper chooses lambda for each task on a held-out fifth of its samples.
    Here that fifth has its own sums, from which the squared error of any weights B follows: up to a constant it is
    tr(B'G B) - 2 tr(B'C). So lambda is chosen again, on all held-out samples so far, at the end of a phase and whenever
    their number has doubled. The paper also adapts the backbone to the first task; this is left out.
    """

    projection_dim: int = 1000  # random features M; more are better, and cost their square
    ridge: float = 0.0  # lambda (0: a power of ten, chosen on a fifth of the samples so far)

    def __post_init__(self) -> None:
        check_range(self, "projection_dim", 1, 1_000_000)
        check_range(self, "ridge", 0)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        shape = (self.backbone_network.dim, self.projection_dim)
        self.projection = torch.randn(shape, generator=generator(setting.seed, "projection")).to(self.place).double()
        # Lambda if it has been chosen, and the number of samples to read before it is chosen again.
        self.chosen = self.add_state("chosen", self.ridge)
        self.choose_at = self.add_state("choose_at", FIRST_CHOICE)

    @override
    def empty(self) -> Sums:
        """Gram matrix and sums by class, once more for the samples held out if lambda has to be chosen."""
        m, k = self.projection_dim, self.n_classes
        sums = {"gram": self._zeros(m, m), "by_class": self._zeros(m, k)}
        if not self.ridge:
            sums |= {f"held_out_{name}": torch.zeros_like(value) for name, value in sums.items()}
        return sums

    @override
    def equations(self) -> int:
        return self.projection_dim

    @override
    def transform(self, features: Tensor) -> Tensor:
        return (features @ self.projection).relu()

    @override
    def learn(self, features: Tensor, y: Tensor) -> None:
        held_out = torch.zeros_like(y, dtype=torch.bool)
        if not self.ridge:
            # By their number, so that a fifth of each stretch of the stream is held out.
            number = int(self.sums["counts"].sum()) + torch.arange(len(y), device=y.device)
            held_out = number % HOLD_OUT == HOLD_OUT - 1
            self._add("held_out_", features[held_out], y[held_out])
        self._add("", features[~held_out], y[~held_out])

    def _add(self, prefix: str, features: Tensor, y: Tensor) -> None:
        self.add_products(f"{prefix}gram", features, features)
        self.add_products(f"{prefix}by_class", features, self.one_hot(y))

    @override
    def forget(self) -> None:
        super().forget()
        self.chosen, self.choose_at = self.ridge, FIRST_CHOICE

    @override
    def fit(self, phase: Phase) -> None:
        super().fit(phase)
        self.choose_at = 0  # choose lambda again, for the samples of all workers

    @override
    def solve(self) -> tuple[Tensor, Tensor]:
        """Ridge regression on all samples so far, those held out included; there is no bias."""
        gram, by_class = self.sums["gram"], self.sums["by_class"]
        if not self.ridge:
            self._choose_ridge()
            gram, by_class = gram + self.sums["held_out_gram"], by_class + self.sums["held_out_by_class"]
        ridge = self.chosen or 10.0 ** self._usual_power()
        while (weights := self._regression(gram, by_class, ridge)) is None:
            ridge *= 10
        return weights, self._zeros(self.n_classes)

    def _choose_ridge(self) -> None:
        """The power of ten with the least error on the held-out samples, if there are twice as many as last time.

        The error falls and rises again with lambda, so it is followed downhill.
        """
        n = int(self.sums["counts"].sum())
        if n < max(self.choose_at, HOLD_OUT):
            return
        power = self._usual_power()
        errors: dict[int, float] = {}
        best = None
        while best != power:
            power = power if best is None else best
            near = (power, power - 1, power + 1)
            errors |= {other: self._held_out_error(10.0**other) for other in near if other not in errors}
            best = min(near, key=errors.__getitem__)
        self.chosen, self.choose_at = 10.0**power, 2 * n

    def _usual_power(self) -> int:
        """Return the exponent of ten near a hundredth of the random features' mean square, summed over samples."""
        return round(math.log10(max(float(self.sums["gram"].diagonal().mean()), 1e-30))) - 2

    def _held_out_error(self, ridge: float) -> float:
        """Return the squared error of a regression on the other samples, up to a constant; inf without a solution."""
        weights = self._regression(self.sums["gram"], self.sums["by_class"], ridge)
        if weights is None:
            return math.inf
        return float(((self.sums["held_out_gram"] @ weights - 2 * self.sums["held_out_by_class"]) * weights).sum())

    def _regression(self, gram: Tensor, by_class: Tensor, ridge: float) -> Tensor | None:
        """Weights (M, K) of a ridge regression, or None if it cannot be solved in double precision."""
        self.count_solving()
        regular = gram.clone()
        regular.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(regular)
        return None if bool(failed) else torch.cholesky_solve(by_class, factor)

    @override
    def classifier_parameters(self) -> int:
        return self.projection.numel() + self.projection_dim * self.n_classes

"""Streaming linear discriminant analysis (Hayes & Kanan, 2020).

"Lifelong Machine Learning with Deep Streaming Linear Discriminant Analysis".
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from redwood.branches.streaming.statistics import StreamingMethod, Sums
from redwood.core.checks import check_range


@dataclass
class SLDA(StreamingMethod):
    """Gaussian classes with a mean for each class, one covariance for all, and equal priors.

    With the shrunk precision L = [(1 - eps) S + eps s I]^-1 a class has the weights L mu and the bias -mu.L mu / 2 (the
    paper's equations 3 and 4). S is the covariance within classes of all samples so far. The paper's recursion
    (equation 2) uses each sample's distance to the mean of its class at that time. Here S follows from sums, so that it
    is exact in any order. The unit s is the mean variance of a feature, so `shrinkage` does not depend on the scale of
    features.
    """

    shrinkage: float = 1e-4  # share of the covariance that is replaced by a multiple of the identity

    def __post_init__(self) -> None:
        check_range(self, "shrinkage", 1e-6, 1)

    @override
    def empty(self) -> Sums:
        """The features of each class (K, d), and the products of features (d, d), added up."""
        dim = self.backbone_network.dim
        return {"by_class": self._zeros(self.n_classes, dim), "products": self._zeros(dim, dim)}

    @override
    def equations(self) -> int:
        return self.backbone_network.dim

    @override
    def learn(self, features: Tensor, y: Tensor) -> None:
        self.add_products("by_class", self.one_hot(y), features)
        self.add_products("products", features, features)

    @override
    def solve(self) -> tuple[Tensor, Tensor]:
        """Weights L mu, and biases -mu.L mu / 2."""
        by_class, products = self.sums["by_class"], self.sums["products"]
        n, dim = self.sums["counts"].sum().clamp(min=1), len(products)
        means = by_class / self.sums["counts"].clamp(min=1)[:, None]
        covariance = (products - by_class.T @ means) / n
        # If each class has been seen only once there is no variance; then use the smallest that differs from rounding.
        floor = (1e-8 * products.trace() / n / dim).clamp(min=1e-30)
        unit = torch.maximum(covariance.trace() / dim, floor)
        shrunk = (1 - self.shrinkage) * covariance
        shrunk.diagonal().add_(self.shrinkage * unit)
        self.count_solving()
        weights = torch.cholesky_solve(means.T, torch.linalg.cholesky(shrunk))
        return weights, -(means.T * weights).sum(0) / 2

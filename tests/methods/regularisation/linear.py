"""A linear network, of which importance is known in closed form."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from redwood.methods.lightning import LightningMethod
from redwood.settings.batch import Batch
from tests.methods.helpers import batch_of, configured

M = TypeVar("M", bound=LightningMethod)


class Linear(nn.Sequential):
    """A linear map of pixels in 0..1, so that a squared loss is a quadratic."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / 16
        for layer in self:
            x = layer(x)
        return x


def linear(method: M, key: str = "class_incremental", **options: object) -> tuple[M, Batch, Tensor, Tensor]:
    """A method with a linear network, the pixels (n, 64) of some samples, and the scores (n, 10)."""
    method = configured(method, key, **options)
    batch = batch_of(0, 50)
    pixels = batch.x.flatten(1).float() / 16
    return method, batch, pixels, method.network(batch.x).detach()


def mean_product(left: Tensor, right: Tensor) -> Tensor:
    """Mean over samples of the products of left (n, i) and right (n, j): (i, j)."""
    return left.T @ right / len(left)

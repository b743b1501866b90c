"""Samples that are decoded when they are indexed, for tests of what decodes them ahead."""

import random
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.dataset import Dataset


class Lazy:
    """Samples that lie in a tensor, as if they lay in files.

    Attributes:
        asked: How often each row was decoded in this process.
    """

    def __init__(self, x: Tensor, damaged: int | None = None) -> None:
        self._x, self._damaged = x, damaged
        self.asked = np.zeros(len(x), dtype=int)  # no tensor: processes would share it

    @property
    def shape(self) -> torch.Size:
        return self._x.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._x.dtype

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        np.add.at(self.asked, index.numpy(), 1)
        if self._damaged in index.tolist():
            raise DataError(f"The sample {self._damaged} cannot be read; replace it.")
        return self._x[index]


class Noisy(Lazy):
    """Draws from all global generators whenever a sample is decoded, as random crops do."""

    def __getitem__(self, index: Tensor, /) -> Tensor:
        drawn = torch.rand(len(index)) + random.random() + np.random.random()
        x = super().__getitem__(index).float()
        return (x + drawn.view(-1, *[1] * (x.dim() - 1))).to(self.dtype)


def lazily(data: Dataset, kind: type[Lazy] = Lazy) -> Dataset:
    """The same data set, whose samples are decoded."""
    assert isinstance(data.x, Tensor) and isinstance(data.x_test, Tensor)
    return replace(data, x=kind(data.x), x_test=kind(data.x_test))

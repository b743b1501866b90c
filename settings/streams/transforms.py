"""Fixed changes of the input that make one data set into many domains, applied to whole batches."""

from typing import Protocol

import torch
from torch import Tensor

from redwood.settings.errors import InvalidOptionError
from redwood.settings.seeding import generator


class Transform(Protocol):
    """Maps samples (B, ...) to samples of the same shape and dtype."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Transform a batch."""


class Permutation:
    """Shuffle the values of each sample in one fixed order (permuted MNIST; Goodfellow et al., 2013)."""

    def __init__(self, sample_shape: tuple[int, ...], seed: int) -> None:
        size = int(torch.tensor(sample_shape).prod())
        self.order = torch.randperm(size, generator=generator(seed))

    def __call__(self, x: Tensor) -> Tensor:
        """Permute the values of samples (B, ...)."""
        return x.flatten(1).index_select(1, self.order.to(x.device)).view_as(x)


class Rotation:
    """Rotate images by one fixed angle (rotated MNIST; Lopez-Paz & Ranzato, 2017)."""

    def __init__(self, sample_shape: tuple[int, ...], degrees: float) -> None:
        if len(sample_shape) != 3:
            raise InvalidOptionError(
                f"--stream rotated needs images (channels, height, width), but a sample has shape {sample_shape}; "
                "use --stream permuted."
            )
        self.degrees = degrees

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate images (B, C, H, W) counter-clockwise about their centre, with bilinear interpolation."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as images

        rotated: Tensor = images.rotate(x, self.degrees, interpolation=InterpolationMode.BILINEAR)
        return rotated

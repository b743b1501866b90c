"""Transforms of the samples of a task: a fixed permutation or rotation."""

from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from redwood.core.errors import InvalidOptionError
from redwood.core.seeding import derive_seed, generator


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


def torchvision_transforms() -> ModuleType:
    """`torchvision.transforms`, with its `v2`; it takes seconds to import."""
    import torchvision.transforms.v2

    module: ModuleType = torchvision.transforms
    return module


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
        v2 = torchvision_transforms().v2
        rotated: Tensor = v2.functional.rotate(x, self.degrees, interpolation=v2.InterpolationMode.BILINEAR)
        return rotated


def rotation_by(sample_shape: tuple[int, ...], degrees: float) -> Transform | None:
    """Rotation by an angle; None for a whole turn."""
    rotation = Rotation(sample_shape, degrees)
    return rotation if degrees % 360 else None


def transform_of_task(stream: str, number: int, sample_shape: tuple[int, ...], seed: int) -> Transform | None:
    """The drawn transform of task `number`; None for the first task, which is the data as it is."""
    # A transform depends on the number of its task alone, not on how many tasks there are.
    transform: Transform
    if stream == "permuted":
        transform = Permutation(sample_shape, derive_seed(seed, "permutation", number))
    else:
        angle = 180 * torch.rand((), generator=generator(seed, "rotation", number)).item()
        transform = Rotation(sample_shape, angle)
    return None if number == 0 else transform

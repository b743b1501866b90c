"""Random changes to images that leave their class as it is; made for whole batches, on their own device."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError


def flip(x: Tensor) -> Tensor:
    """Mirror each image (B, C, H, W) horizontally with probability 1/2."""
    mirrored = torch.rand(len(x), device=x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def crop_flip(x: Tensor) -> Tensor:
    """Shift each image (B, C, H, W) by up to an eighth of its size, filled up with zeros, and mirror half of them.

    With 32 x 32 pixels that is the random crop of 4 padded pixels that is usual with CIFAR.
    """
    n, _, height, width = x.shape
    pad_y, pad_x = height // 8, width // 8
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y))
    top = torch.randint(2 * pad_y + 1, (n, 1, 1), device=x.device)
    left = torch.randint(2 * pad_x + 1, (n, 1, 1), device=x.device)
    rows = top + torch.arange(height, device=x.device)[:, None]
    columns = left + torch.arange(width, device=x.device)
    # Indices around a slice put the sliced dimension, the channels, last.
    cropped = padded[torch.arange(n, device=x.device)[:, None, None], :, rows, columns]
    return flip(cropped.permute(0, 3, 1, 2))


def none(x: Tensor) -> Tensor:
    """Leave samples (B, ...) as they are."""
    return x


AUGMENTATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"none": none, "flip": flip, "crop_flip": crop_flip}


def check_augmentation(name: str, shape: tuple[int, ...]) -> None:
    """Raise `InvalidOptionError` if samples of this shape cannot be augmented so."""
    if name != "none" and len(shape) != 3:
        raise InvalidOptionError(
            f"--augmentation {name} is for images (channels, height, width), "
            f"but samples are of shape {shape}; use --augmentation none."
        )

"""Random changes to images that leave their class as it is; made for whole batches, on their own device."""

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.training.transforms import ForEachImage, named_transform, split
from redwood.settings.scores.answers import Space


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


# Changes of a whole batch of samples (B, ...).
Change = Callable[[Tensor], Tensor]
AUGMENTATIONS: Mapping[str, Change] = {"none": none, "flip": flip, "crop_flip": crop_flip}


def check_augmentation(augmentation: object) -> None:
    """Raise `InvalidOptionError` if a text names no change of images, or another object cannot be called."""
    _changes_of(augmentation)


def make_augmentation(augmentation: object, space: Space) -> Change:
    """The change of samples (B, ...) that an option stands for.

    Args:
        augmentation: A text: names of `AUGMENTATIONS` or `torchvision.transforms.v2`, with literal arguments, joined by
            plus signs, as in "RandomCrop(32, padding=4)+RandomHorizontalFlip". Or an object that changes one image
            (C, H, W), such as a transform of torchvision, or a list of such objects.
        space: The space of the samples.

    Raises:
        InvalidOptionError: If there is no such change, or samples of this space cannot be changed so.
    """
    changes = _changes_of(augmentation)
    shape = space.shape or ()
    if augmentation != "none" and len(shape) != 3:
        raise InvalidOptionError(
            f"--augmentation {augmentation} is for images (channels, height, width), "
            f"but samples are of shape {shape}; use --augmentation none."
        )
    for change in changes:
        if isinstance(change, ForEachImage):
            change.try_on(torch.zeros(shape, dtype=torch.from_numpy(np.zeros(0, space.dtype)).dtype))
    return changes[0] if len(changes) == 1 else InARow(changes)


class InARow:
    """Several changes, one after the other."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def __call__(self, x: Tensor) -> Tensor:
        """Change samples (B, ...)."""
        for change in self._changes:
            x = change(x)
        return x


def _changes_of(augmentation: Any) -> list[Change]:
    if not isinstance(augmentation, str):
        given = augmentation if isinstance(augmentation, list | tuple) else [augmentation]
        if not given:
            raise InvalidOptionError(f"--augmentation {augmentation} holds no transform; use none.")
        return [ForEachImage(one) for one in given]
    changes: list[Change] = []
    for part in split(augmentation):
        own = AUGMENTATIONS.get(part.id) if isinstance(part, ast.Name) else None
        changes.append(ForEachImage(named_transform(part)) if own is None else own)
    if len(changes) > 1 and none in changes:
        raise InvalidOptionError(f"--augmentation {augmentation} joins none with others; leave none out.")
    return changes

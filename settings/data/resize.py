"""Bring the images of a data set in memory to the size that was asked for."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.settings.data.dataset import Dataset, Rows
from redwood.settings.errors import InvalidOptionError

_CHUNK = 4096  # images that are floats at one time


def resized(dataset: Dataset, side: int) -> Dataset:
    """Return `dataset` with images (N, C, side, side) in their storage dtype; itself if there is nothing to do.

    Args:
        dataset: Images (N, C, H, W) in memory, or samples that already have the size.
        side: Height and width in pixels; 0 keeps the data set's own.

    Raises:
        InvalidOptionError: If the samples are not images in memory and not of this size either.
    """
    if side == 0 or dataset.sample_shape[1:] == (side, side):
        return dataset
    return replace(
        dataset, x=_resized(dataset.name, dataset.x, side), x_test=_resized(dataset.name, dataset.x_test, side)
    )


def _resized(name: str, images: Rows, side: int) -> Tensor:
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise InvalidOptionError(
            f"--image_size {side} resizes images (C, H, W), but the samples of {name} are {tuple(images.shape[1:])}; "
            "leave it out."
        )
    result = images.new_empty((*images.shape[:2], side, side))
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        chunk = F.interpolate(chunk, size=(side, side), mode="bilinear", antialias=True)
        result[start : start + _CHUNK] = chunk if result.dtype.is_floating_point else torch.round(chunk)
    return result

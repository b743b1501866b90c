"""Check the option `dataset`, and resize images. Messages say how to make a data set of other objects."""

import os
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.dataset import Dataset

_MAKE = "make one by Dataset.from_arrays(x, y, x_test, y_test)"


def checked_source(given: object) -> str | Dataset:
    """A name of a data set, or a data set.

    Args:
        given: The option `dataset`; a path becomes its name.

    Raises:
        InvalidOptionError: If it is something else; the message says how to make a `Dataset` of it.
    """
    if isinstance(given, str | Dataset):
        return given
    if isinstance(given, os.PathLike):
        return str(os.fspath(given))
    raise InvalidOptionError(f"dataset has to be a name or a redwood.settings.Dataset, but got {_described(given)}.")


def _described(given: object) -> str:
    kind = type(given)
    if isinstance(given, type):
        return f"the class {given.__name__}; pass an instance"
    if kind.__module__.partition(".")[0] == "datasets":
        return f"the {kind.__name__} of Hugging Face; {_MAKE} of numpy.asarray of its columns"
    if hasattr(given, "tensors"):
        return f"a {kind.__name__}; {_MAKE}, whose x and y are in its tensors"
    if callable(given):
        return f"the function {getattr(given, '__name__', kind.__name__)}; pass what it returns"
    if any(cls.__module__.startswith("torch.utils.data") for cls in kind.__mro__):
        return f"a {kind.__name__}; stack its samples to arrays, and {_MAKE}"
    return f"a {kind.__name__}; {_MAKE}"


_CHUNK = 4096  # number of images that are floats at one time


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


def _resized(name: str, images: Samples, side: int) -> Tensor:
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise InvalidOptionError(
            f"--image_size {side} resizes images (C, H, W), but the samples of {name} are {tuple(images.shape[1:])}; "
            "leave it out."
        )
    return resize_images(images, side)


def resize_images(images: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) as (N, C, side, side) in their dtype, by bilinear interpolation without aliasing."""
    result = images.new_empty((*images.shape[:2], side, side))
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        chunk = F.interpolate(chunk, size=(side, side), mode="bilinear", antialias=True)
        result[start : start + _CHUNK] = chunk if result.dtype.is_floating_point else torch.round(chunk)
    return result

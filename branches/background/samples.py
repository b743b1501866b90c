"""Background samples: a data set without classes of interest, in the form of a stream's samples."""

import hashlib

import torch
from gymnasium.spaces import Box
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.conversion import resize_images
from redwood.settings.data.dataset import Dataset, describe_data


class BackgroundSamples:
    """Samples that belong to no class of a stream. A method draws some of them beside each batch."""

    def __init__(self, x: Samples) -> None:
        """Draw from samples (N, ...)."""
        self._x = x

    def draw(self, n: int) -> Tensor:
        """`n` samples (n, ...), with replacement, from torch's global generator."""
        index = torch.randint(len(self._x), (n,))
        return self._x.index_select(0, index) if isinstance(self._x, Tensor) else self._x[index]


def background_like(stream: str, space: Box, background: Dataset) -> BackgroundSamples:
    """The training samples of `background`, brought to shape, dtype and range of the samples of a stream.

    Images are resized; grey ones get equal channels, and those in colour lose their colours, where the stream needs it.

    Args:
        stream: Name of the stream's data set.
        space: Its samples.
        background: The data set.

    Raises:
        DataError: If the samples cannot be brought to that form.
    """
    x, shape, dtype = background.x, tuple(space.shape), getattr(torch, str(space.dtype))
    most = None if dtype.is_floating_point else float(space.high.max())
    if tuple(x.shape[1:]) == shape and x.dtype == dtype and (most is None or background.max_value == most):
        return BackgroundSamples(x)
    alike = len(shape) == len(background.sample_shape) == 3 and shape[1] == shape[2]
    whole = not x.dtype.is_floating_point and not dtype.is_floating_point
    if not isinstance(x, Tensor) or not whole or not (alike or tuple(x.shape[1:]) == shape):
        raise DataError(
            f"--background {background.name} has samples {background.sample_shape} of {x.dtype}, which cannot be "
            f"brought to the form of {stream}, {shape} of {dtype}; use images, or vectors of that form."
        )
    if alike and tuple(x.shape[2:]) != shape[1:]:
        x = resize_images(x, shape[1])
    if alike and x.shape[1] != shape[0]:
        x = x.float().mean(1, keepdim=True).round().to(x.dtype).expand(-1, shape[0], -1, -1)
    scale = (most or 255.0) / (background.max_value or 255.0)
    return BackgroundSamples((x.float() * scale).round().to(dtype))


def digest_of(background: Dataset) -> str:
    """Return a digest that identifies a data set: SHA-256 of its sizes, its labels and some of its samples."""
    return hashlib.sha256(repr(describe_data(background)).encode()).hexdigest()

"""Background samples: a data set without classes of interest, in the form of a stream's samples."""

import torch
from torch import Tensor

from redwood.core.errors import DataError, InvalidOptionError
from redwood.settings.data.arrays import Samples
from redwood.settings.data.conversion import resize_images
from redwood.settings.data.dataset import Dataset


class BackgroundSamples:
    """Samples that belong to no class of a stream. A method draws some of them beside each batch."""

    def __init__(self, x: Samples) -> None:
        """Draw from samples (N, ...)."""
        self._x = x

    def draw(self, n: int) -> Tensor:
        """`n` samples (n, ...), with replacement, from torch's global generator."""
        index = torch.randint(len(self._x), (n,))
        return self._x.index_select(0, index) if isinstance(self._x, Tensor) else self._x[index]


def background_like(stream: Dataset, background: Dataset) -> BackgroundSamples:
    """The training samples of `background`, brought to shape, dtype and range of the samples of `stream`.

    Images are resized; grey ones get equal channels, and those in colour lose their colours, where the stream needs it.

    Raises:
        DataError: If the samples cannot be brought to that form.
        InvalidOptionError: If they are the stream's own.
    """
    if background is stream or background.name == stream.name:
        raise InvalidOptionError(
            f"--background {background.name} is the data set of the stream, whose classes are of interest; choose "
            "another one."
        )
    x, shape = background.x, stream.sample_shape
    if tuple(x.shape[1:]) == shape and x.dtype == stream.x.dtype and background.max_value == stream.max_value:
        return BackgroundSamples(x)
    alike = len(shape) == len(background.sample_shape) == 3 and shape[1] == shape[2]
    whole = not x.dtype.is_floating_point and not stream.x.dtype.is_floating_point
    if not isinstance(x, Tensor) or not whole or not (alike or tuple(x.shape[1:]) == shape):
        raise DataError(
            f"--background {background.name} has samples {background.sample_shape} of {x.dtype}, which cannot be "
            f"brought to the form of {stream.name}, {shape} of {stream.x.dtype}; use images, or vectors of that form."
        )
    if alike and tuple(x.shape[2:]) != shape[1:]:
        x = resize_images(x, shape[1])
    if alike and x.shape[1] != shape[0]:
        x = x.float().mean(1, keepdim=True).round().to(x.dtype).expand(-1, shape[0], -1, -1)
    scale = (stream.max_value or 255.0) / (background.max_value or 255.0)
    return BackgroundSamples((x.float() * scale).round().to(stream.x.dtype))

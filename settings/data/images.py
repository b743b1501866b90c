"""Images of Pillow as samples (N, C, H, W), uint8, decoded when they are indexed, or kept in memory."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import Samples

# Samples of a split that take up to so many bytes are kept in memory; larger ones are read batch by batch.
MOST_BYTES = 2**30
MOST_THREADS = min(8, os.cpu_count() or 1)  # decoders work without Python's lock
_CHUNK = 512
_LOOKED_AT = 100
_GREY, _DEEP = ("1", "L"), ("I", "F", "I;16", "I;16B", "I;16L")


class DecodedImages:
    """Images (N, C, H, W), uint8, that are decoded when they are indexed (implements `Samples`).

    They are grey (C = 1) if a hundred of them, evenly spread, all are; else in colour (C = 3).

    Args:
        name: The data set, for messages.
        read: Returns the images of Pillow of some rows.
        rows: Row of each image (N,).
        side: Height and width that every image is resized to (bilinear); 0: all have the size of the first one.

    Raises:
        DataError: If an image has more than 8 bits per value.
    """

    dtype = torch.uint8

    def __init__(self, name: str, read: Callable[[list[int]], Sequence[Image]], rows: Tensor, side: int) -> None:
        self._name, self._read, self._rows, self._side = name, read, rows, side
        spread = torch.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows)), dtype=torch.float64).long()
        looked_at = read(rows[spread].tolist())
        channels = 1 if all(image.mode in _GREY for image in looked_at) else 3
        width, height = looked_at[0].size
        self.shape = torch.Size((len(rows), channels, side or height, side or width))

    def __len__(self) -> int:
        """Number of images N."""
        return len(self._rows)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Decode the images `index` (B,) into one tensor (B, C, H, W).

        Raises:
            DataError: If an image is not of the size or the colours of the others.
        """
        rows = self._rows[index].tolist()
        images = [self._pixels(row, image) for row, image in zip(rows, self._read(rows), strict=True)]
        array = np.stack(images) if images else np.empty((0, *self.shape[2:], self.shape[1]), np.uint8)
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()

    def _pixels(self, row: int, image: Image) -> np.ndarray:
        """An image as (H, W, C)."""
        _, channels, height, width = self.shape
        if image.mode in _DEEP:
            raise DataError(
                f"Data set {self._name}: the image of row {row} has more than 8 bits per value (mode {image.mode}); "
                "convert it to grey or RGB."
            )
        if channels == 1 and image.mode not in _GREY:
            raise DataError(
                f"Data set {self._name}: the image of row {row} is in colour, but others are grey; convert all to RGB."
            )
        if image.size != (width, height):
            if not self._side:
                raise DataError(
                    f"Data set {self._name}: the images are of different sizes, {width} x {height} and "
                    f"{image.size[0]} x {image.size[1]} (row {row}); give --image_size."
                )
            image = image.convert("L" if channels == 1 else "RGB").resize((width, height), resample=2)  # bilinear
        return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(height, width, channels)


def in_memory(samples: Samples, threads: int = 1) -> Samples:
    """The samples as one tensor if they take up to `MOST_BYTES`; else themselves, to be read batch by batch.

    Args:
        samples: The samples.
        threads: How many threads read them; code of a user may stand no more than one.
    """
    n_bytes = samples.shape.numel() * samples.dtype.itemsize
    if isinstance(samples, Tensor) or n_bytes > MOST_BYTES:
        return samples
    result = torch.empty(samples.shape, dtype=samples.dtype)
    chunks = torch.arange(len(samples)).split(_CHUNK)
    with ThreadPoolExecutor(threads) as pool:
        for index, chunk in zip(chunks, pool.map(samples.__getitem__, chunks), strict=True):
            result[index] = chunk
    return result

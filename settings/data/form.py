"""Judge new samples by those that a run was trained on: their shape, their type and their values."""

import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from redwood.core.errors import DataError
from redwood.settings.data.arrays import UNKNOWN_DTYPES

# Wide integers are scaled by the largest one in training, which new samples may exceed. Of a sensor with four bits more
# they are 16 times as large.
_MOST_OVER = 10


def is_grey(space: Box) -> bool:
    """True if samples are images of one channel."""
    shape = space.shape
    return shape[:1] == (1,) and len(shape) == 3


def with_channel(space: Box, samples: Tensor) -> Tensor:
    """Images of one channel (n, 1, H, W), also if they come without it (n, H, W); other samples as they are."""
    return samples[:, None] if is_grey(space) and tuple(samples.shape[1:]) == space.shape[1:] else samples


def stored_alike(space: Box, samples: Tensor, *, trained: str, whose: str) -> Tensor:
    """Samples (n, ...) in the type that a run was trained on, if each value can be one of its values.

    Floats may stand for integers if all are whole and in the range of the run.

    Args:
        space: The samples of the run.
        samples: New ones, in its shape; at least one.
        trained: The trained thing, for messages: "model" or "run".
        whose: Name of the new samples, for messages.

    Raises:
        DataError: If the values cannot be those of the run.
    """
    wanted = torch.from_numpy(np.empty(0, space.dtype)).dtype
    highest = float(space.high.max())
    if wanted.is_floating_point and samples.dtype.is_floating_point:
        return samples.to(wanted)
    if wanted.is_floating_point:
        raise DataError(
            f"The {trained} takes samples of {space.dtype}, got {samples.dtype}; convert them to {space.dtype}."
        )
    samples = samples.long() if samples.dtype in UNKNOWN_DTYPES else samples
    low, high = (float(value) for value in samples.aminmax())
    whole = not samples.dtype.is_floating_point or bool((samples == samples.round()).all())
    if not whole or low < 0:
        raise DataError(
            f"The {trained} takes samples of {space.dtype} as they are stored in {space.low.min():g}..{highest:g}, got "
            f"{samples.dtype}; undo any scaling, as {whose} go from {low:.6g} to {high:.6g}."
        )
    if high > (highest if wanted == torch.uint8 else _MOST_OVER * highest):
        raise DataError(
            f"The {trained} was trained on samples in 0..{highest:g}, and {whose} go up to {high:g}; rescale them."
        )
    return samples.to(wanted)

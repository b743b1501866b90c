"""The gymnasium spaces of the samples and the answers of a data set."""

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

from redwood.settings.data.dataset import Dataset

_LOOKED_AT = 1000


def observation_space_of(data: Dataset) -> Box:
    """Shape, dtype and range of one sample.

    Floats: the range in training (per feature for vectors), or of 1,000 samples if these are read batch by batch.
    """
    shape = data.sample_shape
    if not data.x.dtype.is_floating_point:
        dtype = np.dtype(str(data.x.dtype).removeprefix("torch."))
        return Box(0, data.max_value or 255, shape, dtype=dtype.type)
    x = data.x
    if not isinstance(x, Tensor):
        x = x[torch.linspace(0, len(x) - 1, min(_LOOKED_AT, len(x)), dtype=torch.float64).long()]
    if len(shape) == 1:
        return Box(x.amin(0).numpy(), x.amax(0).numpy(), dtype=np.float32)
    return Box(float(x.min()), float(x.max()), shape, dtype=np.float32)


def action_space_of(data: Dataset, n_outputs: int) -> Discrete | MultiBinary | Box:
    """The classes or labels (`n_outputs`,); for regression the range of the targets in training, () or (d,)."""
    y = data.y
    if data.is_multi_label:
        return MultiBinary(n_outputs)
    if not data.is_regression:
        return Discrete(n_outputs)
    return Box(y.amin(0).numpy(), y.amax(0).numpy(), tuple(y.shape[1:]), dtype=np.float32)

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from redwood.core.errors import DataError
from redwood.settings.data.form import stored_alike


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_whole_numbers_for_a_model_on_floats_are_to_be_converted(dtype):
    space = Box(-np.inf, np.inf, (4,), np.float32)
    name = str(dtype)
    with pytest.raises(DataError) as error:
        stored_alike(space, torch.ones(2, 4, dtype=dtype), trained="model", whose="these")
    assert str(error.value) == f"The model takes samples of float32, got {name}; convert them to float32."

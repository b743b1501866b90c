"""The digits of scikit-learn: real images that are there without a download."""

from pathlib import Path

import numpy as np
import torch

from redwood.settings.data.dataset import Dataset
from redwood.settings.data.holdout import hold_out


def digits(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """Handwritten digits (Alpaydin and Kaynak, 1998): 1,797 images (1, 8, 8) of 10 classes, uint8 in 0..16.

    They come with scikit-learn, so `data_dir` is not read; one fifth of each class, drawn by `seed`, is the test split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = hold_out("digits", bunch.target, seed)
    x = torch.from_numpy(bunch.images.astype(np.uint8)).unsqueeze(1)
    y = torch.from_numpy(bunch.target).long()
    return Dataset("digits", x[train], y[train], x[test], y[test], max_value=16)

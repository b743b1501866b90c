"""Generated images: a random prototype for each class, and noise. They have nothing in common with other data sets."""

from pathlib import Path

import torch

from redwood.core.seeding import generator
from redwood.settings.data.dataset import Dataset

CLASSES, MORE_CLASSES, TRAIN_PER_CLASS, TEST_PER_CLASS = 10, 20, 144, 36  # as many as `digits` has
SHAPE, MAX_VALUE = (1, 8, 8), 16
MIDDLE, SPREAD, NOISE = 8.0, 3.0, 4.0


def prototypes(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """1,440 + 360 generated images (1, 8, 8) of 10 classes, uint8 in 0..16: the form of `digits`.

    The pixels of a class are normal around its prototype (standard deviation 4), which is normal around 8 (3).
    `seed` draws both; `data_dir` is not read.
    """
    return _generated("prototypes", CLASSES, seed)


def prototypes_20(data_dir: Path, seed: int, image_size: int) -> Dataset:
    """The same with 20 classes, for settings that draw a few of many: 2,880 + 720 images."""
    return _generated("prototypes_20", MORE_CLASSES, seed)


def _generated(name: str, classes: int, seed: int) -> Dataset:
    random = generator(seed, name)
    centres = MIDDLE + SPREAD * torch.randn(classes, *SHAPE, generator=random)
    y, y_test = (torch.arange(classes).repeat(count) for count in (TRAIN_PER_CLASS, TEST_PER_CLASS))
    x, x_test = (
        (centres[labels] + NOISE * torch.randn(len(labels), *SHAPE, generator=random))
        .round()
        .clamp(0, MAX_VALUE)
        .byte()
        for labels in (y, y_test)
    )
    return Dataset(name, x, y, x_test, y_test, max_value=MAX_VALUE)

"""Small image files of one colour."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from redwood.settings.data.arrays import Samples


def save(path: Path, value: Any, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Path:
    """Write an image of one colour, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


def class_folders(root: Path, counts: Mapping[str, int], suffix: str = ".png", size: tuple[int, int] = (8, 8)) -> None:
    """Write images whose red value is 10 x class + number, so that each can be told."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            save(root / name / f"{number:02d}{suffix}", (10 * label + number, 0, 255), size)


def every(rows: Samples) -> Tensor:
    """All samples of a source."""
    return rows[torch.arange(len(rows))]

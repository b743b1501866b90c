"""Checkpoints that are read only if they are whole."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from redwood.settings.errors import RedwoodError


def read_checkpoint(path: Path, remedy: str) -> dict[str, Any]:
    """Load what `torch.save` wrote, on the CPU.

    Args:
        path: The file.
        remedy: What the user can do if it is damaged, for the error message.

    Raises:
        RedwoodError: If the file is cut short, or its bytes are not those that were written.
    """
    try:
        # torch.load does not look at the check sums: flipped bits would become other weights.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong check sum of {damaged}")
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise RedwoodError(f"The checkpoint {path} is damaged ({type(error).__name__}); {remedy}.") from error
    return content

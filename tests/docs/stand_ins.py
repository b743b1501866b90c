"""Small files in the published form of the data sets that pages name, so that their commands can run."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

CHARACTERS = {
    "images_background": {"Greek": 5, "Latin": 4},
    "images_evaluation": {"Sylheti": 3, "Tengwar": 3},
}


def write_all(folder: Path, random: np.random.Generator) -> None:
    """Every data set, where `--data_dir` finds it."""
    for name in ("MNIST", "FashionMNIST"):
        _write_idx(folder / name / "raw", random)
    _write_omniglot(folder / "omniglot-py", random)


def _write_idx(folder: Path, random: np.random.Generator) -> None:
    """MNIST and its relatives: 20 training and 5 test images of each class."""
    folder.mkdir(parents=True)
    for part, n in (("train", 200), ("t10k", 50)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(n, dtype=np.uint8) % 10)):
            header = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())


def _write_omniglot(folder: Path, random: np.random.Generator) -> None:
    """Characters of four alphabets, 20 black and white images of each."""
    for part, alphabets in CHARACTERS.items():
        for alphabet, n in alphabets.items():
            for character in range(n):
                own = folder / part / alphabet / f"character{character + 1:02}"
                own.mkdir(parents=True)
                for drawer in range(20):
                    pixels = random.integers(0, 2, (105, 105), dtype=np.uint8) * 255
                    Image.fromarray(pixels).convert("1").save(own / f"{character:04}_{drawer + 1:02}.png")

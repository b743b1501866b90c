"""Ways of making data of classes that have names, in parts that number these classes otherwise."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redwood.settings import Dataset

NAMES = ("dent", "ok", "scratch", "torn")
# Classes of each part, of which a run learns the first two before it is extended by others.
PARTS = ((0, 1, 2), (0, 1, 2), (1, 2), (0, 1, 3), (0, 1, 2), (0, 1, 2))
# Labels that are integers have no gaps.
NUMBERED = ((0, 1, 2), (0, 1, 2), (0, 1), (0, 1, 2, 3), (0, 1, 2), (0, 1, 2))
PER_CLASS = 40
FEATURES = 16
OF_FILES = ("texts", "integers", "csv", "images", "hugging_face")
WAYS = (*OF_FILES, "arrays")


def names_of(way: str) -> tuple[str, ...]:
    """What the classes are called; integers are called by themselves."""
    return tuple(map(str, range(4))) if way == "integers" else NAMES


def true_classes(x: Tensor) -> Tensor:
    """The class of each sample (n,), from its values alone: feature c of class c is the largest."""
    if x.dim() == 4:  # images, whose row c is white
        return x.float().mean((1, 3))[:, :4].argmax(1)
    return x[:, :4].argmax(1)


def samples(classes: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples (n, 16) and the class of each (n,), in a random order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(classes, PER_CLASS))
    x = random.normal(scale=0.3, size=(len(labels), FEATURES))
    x[np.arange(len(labels)), labels] += 3
    return x.astype(np.float32), labels


def part(way: str, folder: Path, number: int) -> Any:
    """The value of `dataset` for a part, whose files are written into a folder unless they are there."""
    classes = (NUMBERED if way == "integers" else PARTS)[number]
    x, labels = samples(classes, number)
    path = folder / f"{way}{number}{ {'texts': '.npz', 'integers': '.npz', 'csv': '.csv'}.get(way, '') }"
    names = np.array(NAMES)[labels]
    if way == "arrays":
        return in_memory([number])
    if not path.exists():
        writers = {"texts": _npz, "integers": _npz, "csv": _csv, "images": _images, "hugging_face": _hugging_face}
        writers[way](path, x, labels if way == "integers" else names, number)
    return f"hf:{path}" if way == "hugging_face" else str(path)


def in_memory(numbers: list[int]) -> Dataset:
    """Parts as the tasks of one data set from Python; its first part says in which order its classes are numbered."""
    own = sorted({label for number in numbers for label in PARTS[number]})
    order = own[numbers[0] % len(own) :] + own[: numbers[0] % len(own)]
    parts: list[tuple[np.ndarray, ...]] = []
    for task, number in enumerate(numbers):
        values, labels = samples(PARTS[number], number)
        parts.append((values, np.array([order.index(label) for label in labels]), np.full(len(labels), task)))
    x, y, tasks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    t = None if len(numbers) == 1 else tasks
    return Dataset.from_arrays(x, y, x, y, t, t, class_names=[NAMES[label] for label in order])


def _npz(path: Path, x: np.ndarray, labels: np.ndarray, number: int) -> None:
    np.savez(path, x=x, y=labels)


def _csv(path: Path, x: np.ndarray, labels: np.ndarray, number: int) -> None:
    rows = [",".join([*map(str, values), label]) for values, label in zip(x.tolist(), labels, strict=True)]
    header = ",".join([*(f"f{column}" for column in range(FEATURES)), "label"])
    path.write_text("\n".join([header, *rows]) + "\n")


def _images(path: Path, x: np.ndarray, labels: np.ndarray, number: int) -> None:
    from PIL import Image

    for row, label in enumerate(labels):
        pixels = np.random.default_rng([number, row]).integers(0, 60, (8, 8, 3), dtype=np.uint8)
        pixels[NAMES.index(label)] = 255
        (path / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path / label / f"{row}.png")


def _hugging_face(path: Path, x: np.ndarray, labels: np.ndarray, number: int) -> None:
    import datasets

    datasets.disable_progress_bars()
    order = [NAMES[(label + number) % len(NAMES)] for label in range(len(NAMES))]
    content = {"x": x.tolist(), "label": [order.index(label) for label in labels]}
    features = datasets.Features(
        {"x": datasets.List(datasets.Value("float32")), "label": datasets.ClassLabel(names=order)}
    )
    datasets.Dataset.from_dict(content, features=features).save_to_disk(str(path))


def by_name(outputs: tuple[tuple[str, ...], ...], answer: Tensor, x: Tensor, way: str) -> Tensor:
    """Whether each answered output (n,) stands for the class that the sample (n, ...) is of, (n,) bool."""
    names = names_of(way)
    pairs = zip(answer.tolist(), true_classes(x).tolist(), strict=True)
    return torch.tensor([names[label] in outputs[output] for output, label in pairs])

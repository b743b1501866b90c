"""A data set of Hugging Face as it is: a column of images and one of classes, whose names the results keep."""

from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, disable_progress_bars
from sklearn.datasets import load_digits

from redwood.methods import Rehearsal
from redwood.settings import ClassIncrementalSetting

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def handwritten() -> DatasetDict:
    """The digits of scikit-learn in the form that most image sets of the Hub have; `load_dataset` gives such ones."""
    digits = load_digits()
    rows: dict[str, list[Any]] = {
        "image": list((digits.images * 15.9).astype(np.uint8)),
        "label": digits.target.tolist(),
    }
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    return Dataset.from_dict(rows, features=features).train_test_split(test_size=0.2, seed=0)


def main() -> dict[str, float]:
    """Return the accuracy on each class after all of them were learned, two at a time."""
    disable_progress_bars()
    results = ClassIncrementalSetting(dataset=handwritten(), nb_tasks=5).apply(Rehearsal(buffer_size=200), quiet=True)
    assert results.slices is not None
    accuracy = {name: value or 0.0 for name, value in zip(results.class_names, results.slices.accuracy, strict=True)}
    for task, row in zip(results.task_names, results.accuracy_matrix, strict=True):
        print(f"after {task:>12}: " + " ".join(f"{value:.2f}" for value in row if value is not None))
    print(", ".join(f"{name} {value:.2f}" for name, value in accuracy.items()))
    return accuracy


if __name__ == "__main__":
    main()

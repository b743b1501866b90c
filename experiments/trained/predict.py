"""`--predict`: what a run takes new samples for, as a table."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.checks import check_choice, check_range, check_types
from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError, RedwoodError
from redwood.core.files import refuse_foreign, replacing
from redwood.core.printable import cells, printable
from redwood.experiments.options import parse_alone
from redwood.experiments.trained.model import BATCH, TrainedModel, load
from redwood.experiments.trained.prediction_table import PredictionColumns, Quality
from redwood.experiments.trained.samples import NewSamples, read_samples
from redwood.settings.data.arrays import Samples

# The first heading alone is quoted: tables of other programs do not begin so, and no reader sees a difference.
_FIRST = "sample"
_OWN = (re.compile(f'^"{_FIRST}",[^"]'.encode()), "--out")  # see `redwood.core.files.refuse_foreign`


@dataclass
class PredictOptions:
    """The options of `--predict`."""

    dataset: str = (
        ""  # what to predict: .npz or .h5 file with an array x, image or folder of them, or name of a data set
    )
    data_dir: str = "data"  # folder that data sets are read from and downloaded to
    split: str = "test"  # samples of a data set by name: test or train
    out: str = "predictions.csv"  # file to write
    scores: bool = False  # write the scores of all classes, too
    task_id: int | None = None  # task of all samples, from 0, where the setting tells it at test
    accelerator: str = "auto"  # where to compute: auto, cpu, gpu, cuda or mps

    def __post_init__(self) -> None:
        check_types(self)
        check_choice(self, "split", ("test", "train"))
        if self.task_id is not None:
            check_range(self, "task_id", 0)


def predict(folder: str, arguments: Sequence[str], *, trusted: bool = False) -> None:
    """Write the predictions of the run in a folder, and print the accuracy if there are labels.

    Args:
        folder: The folder of the run.
        arguments: The command line, without `--predict` and the folder; with `--help`, the options are printed.
        trusted: Whether code that the run's `config.yaml` names may be run.

    Raises:
        RedwoodError: If an option is wrong, or the run or the samples cannot be used.
    """
    options: PredictOptions | str = parse_alone(PredictOptions, arguments, "--predict")
    if isinstance(options, str):
        print(options)
        return
    if not options.dataset:
        raise InvalidOptionError("--predict needs --dataset: an .npz or .h5 file, a folder of images, or a name.")
    refuse_foreign(Path(options.out), *_OWN)
    model = load(folder, device=options.accelerator, trust=trusted)
    if model.setting.assumptions.rewards:
        raise NotApplicableError(f"The run in {folder} trained an agent; use redwood.load(folder).act(observation).")
    samples = read_samples(model, options.dataset, Path(options.data_dir), options.split)
    task_id = samples.task_id if options.task_id is None and model.takes_task_ids else options.task_id
    quality = predict_to_file(model, samples, Path(options.out), task_id, all_scores=options.scores)
    print(printable(f"{len(samples.x)} predictions in {options.out}{quality}"))


def predict_to_file(
    model: TrainedModel,
    samples: NewSamples,
    path: Path,
    task_id: Tensor | int | None = None,
    *,
    all_scores: bool = False,
) -> str:
    """Write a table of predictions: the sample, the class and its probability or score, or the predicted numbers.

    Args:
        model: A loaded run.
        samples: What to predict.
        path: The .csv file; it appears once it is complete. Only a table that this function wrote may be there.
        task_id: Task of each sample (n,), or of all of them, where the model takes it.
        all_scores: Whether the scores of all classes are written, too.

    Returns:
        How good the predictions are, as a sentence; empty if there are no labels.

    Raises:
        RedwoodError: If the model cannot predict the samples, has no scores, or the file cannot be written.
    """
    if not len(samples.x):
        raise DataError("There are no samples to predict; give at least one.")
    columns = PredictionColumns(model, samples.x, task_id, all_scores)
    quality = Quality(model, samples.labels)
    try:
        with replacing(path, _OWN) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            file.write(f'"{_FIRST}",')
            writer = csv.writer(file)
            writer.writerow(cells(columns.names))
            for start in range(0, len(samples.x), BATCH):
                stop = min(start + BATCH, len(samples.x))
                ids = task_id[start:stop] if isinstance(task_id, Tensor) else task_id
                answer, values = columns.of(_part(samples.x, start, stop), ids)
                quality.add(answer, start)
                names = samples.names[start:stop] or range(start, stop)
                writer.writerows(map(cells, zip(names, *values, strict=True)))
    except OSError as error:
        raise RedwoodError(f"--out {path} cannot be written ({error.strerror}).") from error
    return quality.sentence()


def _part(x: Samples, start: int, stop: int) -> Tensor:
    """Some samples one after the other; those in memory are not copied."""
    return x[start:stop] if isinstance(x, Tensor) else x[torch.arange(start, stop)]

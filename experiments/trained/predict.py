"""`predict DIR`: what a run takes new samples for, as a table."""

import csv
import re
from pathlib import Path

import torch
from torch import Tensor

from redwood.core.errors import DataError, NotApplicableError, RedwoodError
from redwood.core.files import refuse_foreign, replacing
from redwood.core.printable import cells, printable
from redwood.experiments.trained.model import BATCH, TrainedModel, load
from redwood.experiments.trained.prediction_table import PredictionColumns, Quality
from redwood.experiments.trained.samples import NewSamples, read_samples
from redwood.settings.data.arrays import Samples

# The first heading alone is quoted: tables of other programs do not begin so, and no reader sees a difference.
_FIRST = "sample"
_OWN = (re.compile(f'^"{_FIRST}",[^"]'.encode()), "--out")  # see `redwood.core.files.refuse_foreign`


def predict(
    folder: Path,
    dataset: str,
    *,
    data_dir: str,
    split: str,
    out: str,
    scores: bool,
    task_id: int | None,
    accelerator: str,
    trust: bool,
) -> None:
    """Write the predictions of the run in a folder, and print the accuracy if there are labels.

    Args:
        folder: The folder of the run.
        dataset: What to predict: a file with an array x, an image or a folder of them, or the name of a data set.
        data_dir: The folder that data sets are read from and downloaded to.
        split: `test` or `train`: the samples of a data set by name.
        out: The file to write.
        scores: Whether the scores of all classes are written, too.
        task_id: Task of all samples, where the setting tells it at test; None: not given.
        accelerator: Where to compute.
        trust: Whether code that the run's `config.yaml` names may be run.

    Raises:
        RedwoodError: If an option is wrong, or the run or the samples cannot be used.
    """
    refuse_foreign(Path(out), *_OWN)
    earlier = " in the place of an earlier table" if Path(out).exists() else ""
    model = load(folder, device=accelerator, trust=trust)
    if model.setting.assumptions.rewards:
        raise NotApplicableError(f"The run in {folder} trained an agent; use redwood.load(folder).act(observation).")
    samples = read_samples(model, dataset, Path(data_dir), split)
    ids = samples.task_id if task_id is None and model.takes_task_ids else task_id
    quality = predict_to_file(model, samples, Path(out), ids, all_scores=scores)
    n = len(samples.x)
    print(printable(f"{n} prediction{'s' * (n != 1)} in {Path(out).resolve()}{earlier}{quality}"))


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
        How good the predictions are, as a sentence, and a line for each task; empty if there are no labels.

    Raises:
        RedwoodError: If the model cannot predict the samples, has no scores, or the file cannot be written.
    """
    if not len(samples.x):
        raise DataError("There are no samples to predict; give at least one.")
    columns = PredictionColumns(model, samples.x, task_id, all_scores)
    quality = Quality(model, samples.labels, samples.groups)
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

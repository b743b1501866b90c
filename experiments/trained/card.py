"""The model card of an exported run: what it is, how good it is, and how to use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from redwood import __version__
from redwood.core.errors import RedwoodError
from redwood.core.parts import flat
from redwood.core.printable import printable
from redwood.experiments.command_line.config_file import load_config
from redwood.experiments.trained.model import TrainedModel

_USE = {
    "safetensors": """import redwood

model = redwood.load("{folder}")
model.predict(x)  # {samples}
""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{folder}/model.onnx")
(scores,) = session.run(None, {{{feeds}}})  # {samples}
""",
    "torch_export": """import torch

model = torch.export.load("{folder}/model.pt2").module()
scores = model({arguments})  # {samples}
""",
}


def model_card(model: TrainedModel, form: str, folder: str) -> str:
    """The text of the card, in Markdown with a head that model hubs read.

    Args:
        model: The exported run.
        form: The format of the export.
        folder: The name of the exported folder.
    """
    config, results = model.config, model.results
    datasets = _datasets(model)
    dataset = ", then ".join(datasets)
    head = {"library_name": "redwood", "tags": ["continual-learning", str(config["method"])], "datasets": datasets}
    phases = "1 phase" if model.phases == 1 else f"{model.phases} phases"
    done = "." if results is not None else "; the run is not over, so there are no results."
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
        f"# {config['method']} on {dataset}\n",
        f"Trained with redwood {__version__} under the setting `{config['setting']}`, in {phases}{done}",
        "All options are in `config.yaml`.\n",
        *_results(model),
        "## Input and output\n",
        _input_and_output(model),
        "## Use\n",
        f"```python\n{_use(model, form, folder)}```\n",
    ]
    if form == "safetensors":
        lines += _stored(model)
    return printable("\n".join(lines))


def _datasets(model: TrainedModel) -> list[str]:
    """Return the data that the model has learned, in this order: that of the runs it extends, then that of its own.

    A sentence stands for an earlier run whose folder is gone.
    """
    found: list[str] = []
    config: Mapping[str, object] = flat(model.config)
    folders: list[str] = []  # of the earlier runs; a file that was changed may lead back to itself
    while True:
        found.insert(0, str(config.get("dataset") or config.get("env")))
        folder = str(config.get("extends", ""))
        if not folder or folder in folders:
            return found
        folders.append(folder)
        try:
            config = flat(load_config(Path(folder) / "config.yaml", of_run=True))
        except RedwoodError:
            return [f"data of the run {Path(folder).name}, which is gone", *found]


def _results(model: TrainedModel) -> Sequence[str]:
    if model.results is None:
        return ()
    title = "## Results on the tasks of the last run\n" if model.results.phases_before else "## Results\n"
    rows = [f"| {name} | {value:.4f} |" for name, value in model.results.metrics.items() if isinstance(value, float)]
    return (title, "| metric | value |", "| --- | --- |", *rows, "")


def _input_and_output(model: TrainedModel) -> str:
    names = model.class_names
    answer = (
        f"Scores (n, {len(names)}), one for each class in `labels.json`; the class with the highest score is predicted."
        if names
        else "Numbers, one or several for each sample."
    )
    return (
        f"Samples {_shape(model)} of {model.sample_space.dtype} as they are stored, without scaling: the "
        f"model scales them itself (`normalisation.json`).\n{answer}\n"
    )


def _shape(model: TrainedModel) -> str:
    return f"({', '.join(map(str, ('n', *model.sample_space.shape)))})"


def _use(model: TrainedModel, form: str, folder: str) -> str:
    arguments = ["x"] + (["task_id"] if model.takes_task_ids else [])
    samples = f"x: {model.sample_space.dtype}, (n, {', '.join(map(str, model.sample_space.shape))})"
    feeds = ", ".join(f'"{name}": {name}' for name in arguments)
    return _USE[form].format(folder=folder, samples=samples, feeds=feeds, arguments=", ".join(arguments))


def _stored(model: TrainedModel) -> Sequence[str]:
    stored = model.method.nbytes
    if not stored:
        return ()
    return (
        "## What else is in the file\n",
        f"The state of the method includes {stored / 2**20:.1f} MiB of what it keeps for further training: stored "
        "training samples, importances or earlier networks.\n",
    )

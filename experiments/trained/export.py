"""`export DIR`: what a run has learned, as a folder for other programs. Loading it unpickles nothing."""

import os
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram

from redwood.core.errors import InvalidOptionError, NotApplicableError, RedwoodError
from redwood.core.files import temporary_path, write_json
from redwood.core.printable import printable
from redwood.core.schema import Json
from redwood.experiments.runs.saved_run import EXPORTED, read_run
from redwood.experiments.runs.tensor_file import write_state
from redwood.experiments.trained.card import model_card
from redwood.experiments.trained.graph import networks_of, quiet, trace
from redwood.experiments.trained.model import TrainedModel, load

FILES = {"safetensors": EXPORTED, "onnx": "model.onnx", "torch_export": "model.pt2"}
_MOST_IN_ONE_FILE = 2**30  # an ONNX file can hold 2 GiB; the weights of a larger one lie beside it
# Buffers of the layers that scale samples, such as `redwood.methods.networks.Scale`.
_SCALING = ("gain", "bias", "mean", "std")


def export(folder: Path, form: str, out: str | None = None, *, trusted: bool = False) -> None:
    """Export the run in a folder.

    Args:
        folder: The folder of the run.
        form: A key of `FILES`.
        out: The folder to write; None: that of the run with the format behind its name.
        trusted: Whether code that the run's `config.yaml` names may be run.

    Raises:
        RedwoodError: If the folder is in use, or the run cannot be loaded or exported.
    """
    target = Path(out or f"{folder.resolve()}-{form}")
    _refuse_used(target)
    export_model(load(folder, device="cpu", trust=trusted), form, target)
    print(printable(f"exported to {target}"))


def export_model(model: TrainedModel, form: str, out: str | os.PathLike[str]) -> None:
    """Write a folder with the model, `config.yaml`, `labels.json`, `normalisation.json` and a model card, `README.md`.

    The file of safetensors holds the state of the method after its last phase, which may include stored training
    samples. The graphs of ONNX and torch.export hold the prediction alone: from samples in their storage dtype to
    scores, for any number of samples.

    Args:
        model: A loaded run, on the CPU. Making a graph may leave traces in its method, so do not use it afterwards.
        form: `safetensors`, `onnx` or `torch_export`.
        out: The folder to write; it appears once it is complete.

    Raises:
        RedwoodError: If the folder is not empty, a package is missing, or the method's prediction is no graph.
    """
    out = Path(out)
    _refuse_used(out)
    _refuse_missing(form)
    temporary = temporary_path(out)
    try:
        temporary.mkdir(parents=True)
        _write_descriptions(model, form, temporary, out.name)
        _write_model(model, form, temporary / FILES[form])
        temporary.replace(out)
    except OSError as error:
        raise RedwoodError(f"--out {out} cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_model(model: TrainedModel, form: str, path: Path) -> None:
    if form == "safetensors":
        saved = read_run(model.folder, model.after_phase)
        write_state({**saved.state, "signature": saved.signature.state_dict()}, path, prefix="method.0.")
        return
    program = trace(model)
    program.example_inputs = None  # they are the only part that torch would pickle
    if form == "torch_export":
        torch.export.save(program, path)
        return
    _write_onnx(program, ["x", "task_id"] if model.takes_task_ids else ["x"], path, model.method.reference())


def _write_onnx(program: ExportedProgram, inputs: Sequence[str], path: Path, method: str) -> None:
    large = sum(tensor.nbytes for tensor in program.state_dict.values()) > _MOST_IN_ONE_FILE
    names: Json = {"input_names": inputs, "output_names": ["scores"]}
    try:
        with quiet():
            torch.onnx.export(program, f=str(path), external_data=large, dynamo=True, verbose=False, **names)
    except torch.onnx.OnnxExporterError as error:
        raise NotApplicableError(
            f"The prediction of {method} has a step that ONNX lacks; use --format torch_export or safetensors."
        ) from error


def _write_descriptions(model: TrainedModel, form: str, folder: Path, name: str) -> None:
    """Write all files but the model itself; `name` is what the folder will be called."""
    shutil.copyfile(model.folder / "config.yaml", folder / "config.yaml")
    if model.results is not None:
        model.results.save(folder / "results.json")
    write_json(folder / "labels.json", {"class_names": list(model.class_names)})
    write_json(folder / "normalisation.json", _normalisation(model))
    (folder / "README.md").write_text(model_card(model, form, name))


def _normalisation(model: TrainedModel) -> Json:
    """The form of the samples, and how the layers of the model scale them: x gain + bias, or (x - mean) / std."""
    space = model.sample_space
    bounds = {"low": float(space.low.min()), "high": float(space.high.max())}
    finite = {name: value if abs(value) < float("inf") else None for name, value in bounds.items()}
    layers = {
        f"{part}.{name}".rstrip("."): found
        for part, network in networks_of(model.method).items()
        for name, layer in network.named_modules()
        if (found := _scaling(layer))
    }
    return {"shape": list(space.shape), "dtype": str(space.dtype), **finite, "scaled_by": "the model", "layers": layers}


def _scaling(layer: nn.Module) -> Json:
    """The buffers that scale samples; weights of the same names are parameters, not buffers."""
    return {name: value.flatten().tolist() for name, value in layer.named_buffers(recurse=False) if name in _SCALING}


def _refuse_used(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidOptionError(f"--out {out} exists and is not an empty folder; choose another one.")


def _refuse_missing(form: str) -> None:
    for package in ("onnx", "onnxscript") if form == "onnx" else ():
        if find_spec(package) is None:
            raise InvalidOptionError(
                f"--format onnx needs the package {package}; install it by pip install 'redwood[export]'."
            )

"""`redwood.load`: the method that a run has trained, without the run's data."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch

from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.core.schema import check_alike
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.experiments.config_file import as_arguments, load_config
from redwood.experiments.options import check_arguments, parse_options
from redwood.experiments.pairs import Pair
from redwood.experiments.trained.model import TrainedModel
from redwood.experiments.trained.tensor_file import read_state
from redwood.experiments.trust import refuse_untrusted
from redwood.methods.base import Method
from redwood.runs.folder import read_boundary
from redwood.runs.loop import check_format
from redwood.runs.run import Run
from redwood.settings.base import Setting
from redwood.settings.config import is_marked
from redwood.settings.results import Results
from redwood.settings.signature import Signature

# The file of an exported folder that holds the content of the last checkpoint between two phases.
EXPORTED = "model.safetensors"
# Options whose objects, given from Python, a trained method does not need: its signature has what follows from them.
NOT_NEEDED = ("dataset", "background", "env")


class SavedRun(NamedTuple):
    """What the folder of a run holds.

    Attributes:
        folder: The folder.
        config: The options, as in `config.yaml`.
        state: The content of the last checkpoint between two phases.
        signature: What the method saw of the setting.
    """

    folder: Path
    config: dict[str, Any]
    state: State
    signature: Signature


def read_run(folder: str | os.PathLike[str], phase: int | None = None) -> SavedRun:
    """Read the options and a checkpoint between two phases of a run, or of an exported one; nothing is unpickled.

    Args:
        folder: The folder.
        phase: The phase after which the checkpoint was written, if all were kept. None: the last checkpoint.

    Raises:
        RedwoodError: If the folder is no run, or one that was stopped before its first checkpoint, or damaged.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        raise RedwoodError(f"There is no run in the folder {path} (no config.yaml); name the folder of a run.")
    config = load_config(path / "config.yaml")
    is_exported = (path / EXPORTED).is_file() and phase is None
    state = read_state(path / EXPORTED) if is_exported else read_boundary(path, config, phase)
    check_format(state)
    return SavedRun(path, config, state, Signature.from_state(state.pop("signature"), str(path)))


def load(
    folder: str | os.PathLike[str],
    *,
    device: str = "auto",
    trust: bool = False,
    phase: int | None = None,
    **given: object,
) -> TrainedModel:
    """The method that a run has trained, in the state after its last phase that is over.

    The data of the run is not needed, and nothing in the folder is unpickled.

    Args:
        folder: The folder of a run, or one that `--export` wrote in the format safetensors.
        device: Where to compute: auto, cpu, gpu, cuda or mps.
        trust: Whether code that the run's `config.yaml` names may be run.
        phase: Load the state after this phase, from 0; the run has to have kept it by `--keep_checkpoints all`.
        **given: Options of the method that were given from Python, such as `model`: a file cannot hold these.

    Raises:
        RedwoodError: If the folder is no run or damaged, an option is missing, or code is not trusted.
    """
    saved = read_run(folder, phase)
    if not trust:
        refuse_untrusted(saved.config, saved.folder / "config.yaml", "redwood.load")
    setting, method = make_method(saved, given)
    file = saved.folder / "results.json"
    results = Results.load(file) if file.exists() else None
    view = restore(method, saved, setting, device)
    return TrainedModel(
        method, view, saved.signature, saved.config, results, folder=saved.folder, phases=saved.state["next_phase"]
    )


def make_method(saved: SavedRun, given: Mapping[str, object]) -> tuple[type[Setting], Method]:
    """The class of a run's setting, and its method, untrained.

    Args:
        saved: The run.
        given: Options of the method that were given from Python.

    Raises:
        RedwoodError: If an option is unknown, or was given from Python and is missing.
    """
    pair = Pair(str(saved.config["setting"]), str(saved.config["method"]))
    setting, method = pair.load()
    known = {f.name for f in fields(method)}
    for name in given:
        if name not in known:
            raise InvalidOptionError(f"{saved.config['method']} has no option {name}; leave it out.")
    config = {
        name: value
        for name, value in saved.config.items()
        if name not in ("setting", "method", *given) and not (name in NOT_NEEDED and is_marked(value))
    }
    for name, value in config.items():
        if is_marked(value):
            raise InvalidOptionError(
                f"The run in {saved.folder} got its {name} from Python ({value}), which no file can hold; give it "
                f"again, as in redwood.load(folder, {name}=...)."
            )
    arguments = as_arguments({name: value for name, value in config.items() if name in known})
    check_arguments([pair], arguments)
    made = parse_options(pair, arguments).method
    for name, value in given.items():
        setattr(made, name, value)
    return setting, made


def restore(method: Method, saved: SavedRun, setting: type[Setting], device: str) -> Setting:
    """Configure a method by the signature of a run, and load its state.

    Returns:
        The view of the setting that it was configured with.
    """
    run = Run(quiet=True, accelerator=device, checkpoint_every=0, precision=saved.config.get("precision", "32-true"))
    run.is_trained = True
    run.num_phases = max(saved.state["next_phase"], 1)
    view = saved.signature.make_view(setting)
    threads = torch.get_num_threads()
    try:
        with preserved_random_state():
            seed_everything(view.seed, "weights")
            method.attach(run)
            method.configure(view)
            state = saved.state["method"][0]
            check_alike(state, method.state_dict(), f"The checkpoint in {saved.folder}")
            method.load_state_dict(state)
    finally:
        torch.set_num_threads(threads)
    return view

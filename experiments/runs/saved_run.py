"""The content of a run's folder: its options, and the last checkpoint between two phases."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from redwood.core.calls import resume_call
from redwood.core.errors import RedwoodError
from redwood.core.parts import flat
from redwood.core.schema import Json
from redwood.core.state import State
from redwood.engine.folder import read_boundary
from redwood.engine.run_state import check_format
from redwood.experiments.command_line.config_file import load_config
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.runs.given import FromPython
from redwood.experiments.runs.tensor_file import read_state
from redwood.settings.signature import Signature

# The file of an exported folder that holds the content of the last checkpoint between two phases.
EXPORTED = "model.safetensors"
_MOST_NAMED = 8  # folders in a message


class SavedRun(NamedTuple):
    """The content of a run's folder.

    Attributes:
        folder: The folder.
        config: The options, as in `config.yaml`, those of parts nested.
        state: The content of the last checkpoint between two phases.
        signature: The setting as the method saw it.
        identity: The random identity of the run, drawn when the run was created.
        log: The content of its `metrics.csv` until the checkpoint.
        data: The description of the stream's data, as plain values; empty if it is not known.
        classes: Classes that were given from Python, by their names in `config`.
    """

    folder: Path
    config: Json
    state: State
    signature: Signature
    identity: str
    log: str
    data: State
    classes: Mapping[str, type] = {}

    @property
    def pair(self) -> Pair:
        """The setting and the method."""
        return pair_of(self.config, self.classes)

    @property
    def options(self) -> Json:
        """The options by name; those of parts stand beside the others."""
        return flat(self.config)

    def with_classes(self, given: FromPython) -> "SavedRun":
        """The run with classes from Python in the place of the names of its setting and its method."""
        names = {option: [str(self.config[option])] for option in ("setting", "method")}
        return self._replace(classes=given.classes(names, self.folder))

    def before(self) -> "SavedRun":
        """The run that this one extends."""
        return read_run(str(self.config["extends"]))._replace(classes=self.classes)

    @property
    def phases_learned(self) -> int:
        """Phases that the method was trained in, those of the runs before it included."""
        return int(self.state["next_phase"] + self.state["phases_before"])

    @property
    def phases_planned(self) -> int:
        """The value of `phases_learned` at the end of the run."""
        return self.signature.num_phases + int(self.state["phases_before"])


def pair_of(config: Mapping[str, object], classes: Mapping[str, type] | None = None) -> Pair:
    """The setting and the method of a run, from its `config.yaml`; `classes` stand for their names in it."""
    return Pair(str(config["setting"]), str(config["method"]), objects=classes or {})


def read_run(folder: str | os.PathLike[str], phase: int | None = None) -> SavedRun:
    """Read the options and a checkpoint between two phases of a run, or of an exported one; nothing is unpickled.

    Args:
        folder: The folder.
        phase: The phase after which the checkpoint was written, if all were kept. None: the last checkpoint.

    Raises:
        RedwoodError: If the folder is no run or damaged, or the run was stopped before it had learned a phase.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        raise RedwoodError(_without_run(path))
    config = load_config(path / "config.yaml", of_run=True)
    if (path / EXPORTED).is_file() and phase is None:
        state = read_state(path / EXPORTED)
        stamp: State = {"id": EXPORTED, "log": "", "data": {}}
    else:
        state, stamp = read_boundary(path, flat(config), phase)
    check_format(state)
    signature = Signature.from_state(state.pop("signature"), str(path))
    saved = SavedRun(path, config, state, signature, stamp["id"], stamp["log"], stamp["data"])
    if not saved.phases_learned:
        raise RedwoodError(f"The run in {path} has learned no phase yet; finish it by {resume_call(path)} first.")
    return saved


def _without_run(path: Path) -> str:
    """Why there is no run in a folder; of a comparison or a sweep, with the folders of its runs."""
    inside = [file.parent for pattern in ("*", "best/*") for file in sorted(path.glob(f"{pattern}/config.yaml"))]
    if not inside:
        return f"There is no run in the folder {path} (no config.yaml); name the folder of a run."
    named = " or ".join(shlex.quote(str(folder)) for folder in inside[:_MOST_NAMED])
    more = f", or one of {len(inside) - _MOST_NAMED} more" if len(inside) > _MOST_NAMED else ""
    return f"The folder {path} holds several runs, which redwood.Comparison.load reads; name one: {named}{more}."

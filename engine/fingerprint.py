"""The link from a checkpoint to its run: an identity, the options, the data, and the place in the run."""

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, MapOf, Number, Record, Text, check
from redwood.core.state import State
from redwood.engine.may_change import MAY_CHANGE

# The entry of a checkpoint that ties it to its run.
STAMP = "run"
BETWEEN_PHASES, INSIDE_PHASE = "between two phases", "inside a phase"  # the kinds of checkpoints

_STAMP = Record(
    {
        "id": Text(),
        "kind": Text(),
        "config": MapOf(ANYTHING),
        "data": MapOf(ANYTHING),
        "phase": Number(low=0, whole=True),
        "log": Text(empty=True),
    }
)


@dataclass
class Fingerprint:
    """The values that all checkpoints of one run share.

    Attributes:
        config: The options of the run, as in `config.yaml`.
        data: The description of the stream's data, as plain values; None if the data is not compared.
        identity: A random identity, drawn when the run is created; a resumed run keeps that of its first checkpoint.
    """

    config: State = field(default_factory=dict)
    data: State | None = field(default_factory=dict)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def stamp(self, kind: str, phase: int, log: str) -> State:
        """Return the values that a checkpoint holds besides its state.

        Args:
            kind: `BETWEEN_PHASES` or `INSIDE_PHASE`.
            phase: The current phase of the run, or the next one.
            log: The content of `metrics.csv` until then.
        """
        return {
            "id": self.identity,
            "kind": kind,
            "config": self.config,
            "data": self.data,
            "phase": phase,
            "log": log,
        }

    def check(self, stamp: object, kind: str, path: Path, options_file: str, remedy: str) -> State:
        """Return a stamp if it is of a run with these options and this data.

        Args:
            stamp: The stamp of a checkpoint.
            kind: The kind of checkpoint that it has to be.
            path: The checkpoint, for the error message.
            options_file: Where the user can change the options.
            remedy: What the user can do.

        Raises:
            RedwoodError: If it is not.
        """
        if stamp is None:
            raise RedwoodError(
                f"The checkpoint {path} was written by another program or another version of redwood; {remedy}."
            )
        check(stamp, _STAMP, f"The checkpoint {path}")
        assert isinstance(stamp, dict)
        if stamp["kind"] != kind:
            raise RedwoodError(f"The checkpoint {path} is one {stamp['kind']}, not {kind}; {remedy}.")
        changed = differences(stamp["config"], self.config, "the checkpoint", options_file)
        if changed:
            raise RedwoodError(
                f"The checkpoint {path} is of a run with other options ({changed}); undo the change, or {remedy}."
            )
        changed = "" if self.data is None else differences(stamp["data"], self.data, "the checkpoint", "the data now")
        if changed:
            raise RedwoodError(
                f"The checkpoint {path} is of a run on other data ({changed}); put that data back, or {remedy}."
            )
        return stamp


def differences(
    old: Mapping[str, object],
    new: Mapping[str, object],
    in_old: str,
    in_new: str,
    names: Iterable[str] | None = None,
) -> str:
    """Say which options differ between two mappings, except those of `MAY_CHANGE`; empty if none do.

    Args:
        old: Options that a checkpoint or results were written with.
        new: Options now.
        in_old: Where the old values stand, for the text.
        in_new: Where the new values stand.
        names: The options to compare (default: all names of both).
    """
    compared = [name for name in ({**old, **new} if names is None else names) if name not in MAY_CHANGE]
    changed = [name for name in compared if portable(old.get(name)) != portable(new.get(name))]
    texts = [f"{name}: {_shown(old.get(name))} in {in_old}, {_shown(new.get(name))} in {in_new}" for name in changed]
    return "; ".join(texts[:3]) + ("; and more" if len(texts) > 3 else "")


def portable(value: object) -> object:
    """Tuples as lists; a class in a Python file by the file's name alone, since its folder may have been moved."""
    if isinstance(value, str) and ".py:" in value:
        return "+".join(os.path.basename(part) for part in value.split("+"))
    return list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

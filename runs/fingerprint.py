"""What ties a checkpoint to its run: an identity, the options, the data, and where in the run it was written."""

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, MapOf, Number, Record, Text, check

if TYPE_CHECKING:
    pass


# The entry of a checkpoint that ties it to its run.
STAMP = "run"

# Options that may be changed in `config.yaml` before a run is gone on with. They say how the run is watched, where it
# finds its data, and on what it computes; results on other devices may differ in the last digits.
MAY_CHANGE = frozenset(
    {"accelerator", "checkpoint_every", "data_dir", "devices", "nodes", "project", "quiet", "threads", "wandb"}
)

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
    """What the checkpoints of one run have in common.

    Attributes:
        config: The options of the run, as in `config.yaml`.
        data: What the stream is made of, as plain values; None if that is not to be compared.
        identity: Drawn when the run is created; a resumed run takes up that of its first checkpoint.
    """

    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] | None = field(default_factory=dict)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def stamp(self, kind: str, phase: int, log: str) -> dict[str, Any]:
        """What a checkpoint holds beside its state: its kind, its phase, and all that was logged until then."""
        return {
            "id": self.identity,
            "kind": kind,
            "config": self.config,
            "data": self.data,
            "phase": phase,
            "log": log,
        }

    def check(self, stamp: Any, kind: str, path: Path, options: str, remedy: str) -> None:
        """Raise `RedwoodError` unless a stamp is of a run with these options and this data.

        Args:
            stamp: That of a checkpoint.
            kind: What kind of checkpoint it has to be.
            path: The checkpoint, for the error message.
            options: The file that the options of now come from.
            remedy: What the user can do.
        """
        if stamp is None:
            raise RedwoodError(
                f"The checkpoint {path} was written by another program or another version of redwood; {remedy}."
            )
        check(stamp, _STAMP, f"The checkpoint {path}")
        if stamp["kind"] != kind:
            raise RedwoodError(f"The checkpoint {path} is one {stamp['kind']}, not {kind}; {remedy}.")
        changed = differences(stamp["config"], self.config, "the checkpoint", options)
        if changed:
            raise RedwoodError(
                f"The checkpoint {path} is of a run with other options ({changed}); undo the change, or {remedy}."
            )
        changed = "" if self.data is None else differences(stamp["data"], self.data, "the checkpoint", "the data now")
        if changed:
            raise RedwoodError(
                f"The checkpoint {path} is of a run on other data ({changed}); put that data back, or {remedy}."
            )


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], in_old: str, in_new: str, names: Iterable[str] | None = None
) -> str:
    """Say which options differ between two mappings, but for those of `MAY_CHANGE`; empty if none do.

    Args:
        old: What a checkpoint or results were written with.
        new: What holds now.
        in_old: What the old values are in, for the text.
        in_new: What the new values are in.
        names: What to compare (default: all names of both).
    """
    compared = [name for name in ({**old, **new} if names is None else names) if name not in MAY_CHANGE]
    changed = [name for name in compared if _portable(old.get(name)) != _portable(new.get(name))]
    told = [f"{name}: {_shown(old.get(name))} in {in_old}, {_shown(new.get(name))} in {in_new}" for name in changed]
    return "; ".join(told[:3]) + ("; and more" if len(told) > 3 else "")


def _portable(value: Any) -> Any:
    """Tuples as lists; of a class in a Python file, the file's name, since its folder may have been moved."""
    if isinstance(value, str) and ".py:" in value:
        return "+".join(os.path.basename(part) for part in value.split("+"))
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

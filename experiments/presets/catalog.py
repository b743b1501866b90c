"""The presets that come with redwood, read from the YAML files beside this one: one per method, one cell per preset."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redwood.core.errors import RedwoodError
from redwood.core.plain_yaml import read_yaml

FOLDER = Path(__file__).parent
PROTOCOLS = "protocols"
_NEAREST = 3


@dataclass(frozen=True)
class Reached:
    """The results of this preset's runs in redwood.

    Attributes:
        mean: Mean of the metric over the seeds, in percent.
        deviation: Standard deviation over the seeds, in percent points; 0 for one seed.
        seeds: Number of runs, with the seeds 0, 1, ...
    """

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class Preset:
    """A published result, and the options that it was reached with.

    Attributes:
        name: `method/cell`.
        setting: Key of the setting.
        method: Key of the method.
        options: Options of the setting, the method and the run by name.
        metric: Name of the metric in `Results.metrics`, which is a share: 0.727 for a target of 72.7.
        source: Paper or repository, table or file, and the place that the options are from.
        target: The published mean, in percent.
        tolerance: Difference from the target that counts as reached, in percent points.
        tolerance_from: How the tolerance was derived.
        differs: What is not as in the source, and which values are ours.
        reached: What was reached here; None if the preset was never run.
    """

    name: str
    setting: str
    method: str
    options: Mapping[str, Any]
    metric: str
    source: str
    target: float
    tolerance: float
    tolerance_from: str
    differs: str = ""
    reached: Reached | None = None

    @property
    def is_met(self) -> bool | None:
        """True if the target lies within the tolerance and twice our own deviation; None if never run."""
        if self.reached is None:
            return None
        return abs(self.reached.mean - self.target) <= math.hypot(self.tolerance, 2 * self.reached.deviation)

    @property
    def status(self) -> str:
        """`not run`, or what was reached."""
        if self.reached is None:
            return "not run"
        seeds = self.reached.seeds
        spread = f" +- {self.reached.deviation:.1f}, {seeds} seeds" if seeds > 1 else ", 1 seed"
        found = f"{self.reached.mean:.1f}{spread}"
        return f"reached: {found}" if self.is_met else f"missed by {self.reached.mean - self.target:+.1f}: {found}"


def find_preset(name: str) -> Preset:
    """The preset of a name such as `der_pp/cifar10-500`.

    Raises:
        RedwoodError: If there is none; the nearest names are given.
    """
    presets = load_presets()
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, n=_NEAREST, cutoff=0.3)
    hint = f"the nearest are {', '.join(near)}" if near else "list --presets shows all"
    raise RedwoodError(f"There is no preset {name}; {hint}.")


def load_presets() -> dict[str, Preset]:
    """All presets by name, sorted."""
    protocols = _read(PROTOCOLS)
    presets = [
        _preset(path.stem, cell, entry, protocols)
        for path in FOLDER.glob("*.yaml")
        if path.stem != PROTOCOLS
        for cell, entry in _read(path.stem).items()
    ]
    return {preset.name: preset for preset in sorted(presets, key=lambda preset: preset.name)}


def _read(stem: str) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, object]] = read_yaml((FOLDER / f"{stem}.yaml").read_text(encoding="utf-8"))
    return content


def _preset(method: str, cell: str, entry: dict[str, Any], protocols: Mapping[str, dict[str, Any]]) -> Preset:
    """A cell joined with its protocol: options of the cell count, None takes one back; both say what differs."""
    protocol = protocols[entry.pop("protocol")]
    merged = protocol["options"] | entry.pop("options", {})
    options = {name: value for name, value in merged.items() if value is not None}
    if "stream_file" in options:
        options["stream_file"] = str(FOLDER / options["stream_file"])
    differs = "; ".join(part["differs"] for part in (protocol, entry) if "differs" in part)
    reached = Reached(**entry.pop("reached")) if "reached" in entry else None
    joined = protocol | entry | {"options": options, "differs": differs, "reached": reached}
    return Preset(name=f"{method}/{cell}", method=method, **joined)

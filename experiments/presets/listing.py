"""Show presets: all of them as a table or as JSON, and one with its options."""

import json
import textwrap
from dataclasses import asdict

from redwood.engine.terminal import Terminal, new_table
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.presets.catalog import Preset, load_presets

_WIDTH = 100


def print_presets(as_json: bool) -> None:
    """Print the targets and the status of all presets."""
    presets = load_presets().values()
    if as_json:
        records = [asdict(preset) | {"status": preset.status} for preset in presets]
        print(json.dumps(records, indent=2))
        return
    table = new_table("presets, for --preset NAME (%)", padding=1)
    for column in ("preset", "target", "status"):
        table.add_column(column, no_wrap=column == "preset")
    for preset in presets:
        target = f"{preset.target:.1f} +- {preset.tolerance:.1f}"
        table.add_row(preset.name, target, preset.status)
    Terminal().print(table)


def announce(preset: Preset) -> list[str]:
    """Print what the preset is, and return its options as command-line arguments."""
    print(describe(preset))
    return as_arguments({"setting": preset.setting, "method": preset.method, **preset.options})


def describe(preset: Preset) -> str:
    """A paragraph for each thing that a user should know of a preset, and its options."""
    options = " ".join(f"--{name} {_written(value)}" for name, value in preset.options.items())
    lines = [
        f"preset {preset.name}: --setting {preset.setting} --method {preset.method} {options}",
        f"target: {preset.metric} {preset.target:g} % +- {preset.tolerance:g} ({preset.tolerance_from})",
        f"status: {preset.status}",
        f"source: {preset.source}",
        *([f"differs: {preset.differs}"] if preset.differs else []),
    ]
    wrapped = (textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_long_words=False) for line in lines)
    return "\n".join("\n".join(part) for part in wrapped)


def _written(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

"""A run's options as a flat mapping: what `config.yaml` holds and reproduces the run from."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from redwood.settings import ENTRY_POINTS, SETTINGS
from redwood.settings.registry import known_names, reference_of

if TYPE_CHECKING:
    from redwood.settings.base import Learner, Setting
    from redwood.settings.run import Run

# Not part of what reproduces a run: where it writes, how it is watched.
_NOT_CONFIG = {"run_dir", "group", "resume", "quiet"}


def name_of_setting(cls: "type[Setting]") -> str:
    """The key of a setting class, or the reference under which it can be loaded."""
    return reference_of(cls, known_names("setting", SETTINGS, ENTRY_POINTS))


def describe_run(setting: "Setting", method: "Learner", run: "Run") -> dict[str, Any]:
    """All options of a run, flat, by the names that the command line uses."""
    config: dict[str, Any] = {"setting": name_of_setting(type(setting)), "method": method.reference()}
    for part in (setting, method, run):
        config |= describe_options(part)
    return config


def describe_options(part: Any) -> dict[str, Any]:
    """The options of a setting, a method or a run."""
    return {f.name: _plain(getattr(part, f.name)) for f in fields(part) if f.name not in _NOT_CONFIG}


def _plain(value: Any) -> Any:
    """YAML has names for plain values; anything else given from Python is described by its class or name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "name", None) or type(value).__qualname__

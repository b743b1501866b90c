"""Find the class of a setting by its key."""

from typing import TypeGuard

from redwood.core.errors import RedwoodError
from redwood.core.registry import look_up
from redwood.settings.base import Setting
from redwood.settings.table import ENTRY_POINTS, SETTINGS


def get_setting(name: str) -> type[Setting]:
    """Return the setting class of a key, `package.module:Class`, `path/to/file.py:Class` or entry point.

    Raises:
        RedwoodError: If there is no such setting, or the name stands for something else.
    """
    found = look_up("setting", name, SETTINGS, ENTRY_POINTS, _is_setting)
    if not _is_setting(found):
        raise RedwoodError(f"{name} is not a setting: it has to be a subclass of redwood.settings.Setting.")
    return found


def _is_setting(found: object) -> TypeGuard[type[Setting]]:
    return isinstance(found, type) and issubclass(found, Setting)

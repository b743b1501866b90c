"""Packages that only an extra of redwood installs."""

from importlib import import_module
from types import ModuleType

from redwood.core.errors import RedwoodError


def load_extra(module: str, extra: str, user: str) -> ModuleType:
    """Import a package that an extra of redwood installs.

    Args:
        module: The module, such as `pandas`.
        extra: The extra, such as `data`.
        user: The option that needs it, with its value, for the message.

    Raises:
        RedwoodError: If it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise RedwoodError(
            f"{user} needs the package {package}, which is not installed; pip install 'redwood[{extra}]'."
        ) from error

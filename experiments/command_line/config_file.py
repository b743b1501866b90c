"""Files of options: `--config FILE`, and the `config.yaml` that a run is resumed from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from redwood.core.errors import RedwoodError
from redwood.core.files import read_text
from redwood.core.parts import flat
from redwood.core.plain_yaml import read_yaml
from redwood.experiments.command_line.arguments import OWN, UsageError
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.settings.config import CONFIG_FORMAT, FORMAT_KEY, refuse_marked

NOT_IN_FILES = ("config", "preset", "suite", "trust", "version", "help", *OWN)


def read_arguments(path: Path, given: Mapping[str, str], *, trusted: bool) -> list[str]:
    """The options of a file as command-line arguments.

    Args:
        path: The file.
        given: Texts of the options on the command line, which override the file.
        trusted: Whether code that the file names may be run.

    Raises:
        RedwoodError: If the file cannot be used, or names code and is not trusted.
    """
    config = load_config(path)
    if "extends" in config:
        raise UsageError(
            f"{path} is of a run that goes on from the one in {config['extends']}, which options alone cannot start; "
            f"give extend {config['extends']} --dataset {flat(config).get('dataset')}."
        )
    own = flat(config, given)
    refuse_marked(own, path)
    if not trusted:
        refuse_untrusted(own, path, "--config")
    return as_arguments(own)


def as_arguments(config: Mapping[str, object]) -> list[str]:
    """The options of a configuration file as command-line arguments, so that both are checked alike."""
    arguments: list[str] = []
    for name, value in config.items():
        if isinstance(value, list | tuple):
            arguments += [f"--{name}", *map(str, value)] if value else []
        elif value is not None:
            arguments.append(f"--{name}={value}")
    return arguments


def load_entries(path: Path, option: str, example: str) -> dict[Any, Any]:
    """Read a YAML mapping that has at least one entry.

    Args:
        path: The file.
        option: The option that names it, and its value, for error messages.
        example: What to write into such a file.

    Raises:
        UsageError: If the file cannot be read, or holds no such mapping.
    """
    try:
        content = read_yaml(read_text(path))
    except RedwoodError as error:
        raise UsageError(f"{option} {error}") from None
    except OSError as error:
        raise UsageError(f"{option} cannot be read ({error.strerror}); name another file.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{option} is not valid YAML; write {example}.") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{option} has to be a mapping with at least one entry; write {example}.")
    return content


def load_config(path: Path, *, of_run: bool = False) -> dict[str, object]:
    """Read a YAML mapping of option names to values, or of names to parts: see `redwood.core.parts.flat`.

    Args:
        path: The file.
        of_run: Whether it has to be a file that a run has written.

    Raises:
        RedwoodError: If the file is missing or no such mapping, has an option that only a command line can have, or
            was written by another version.
    """
    config = _mapping_in(path)
    written = config.pop(FORMAT_KEY, None if of_run else CONFIG_FORMAT)
    if written != CONFIG_FORMAT:
        raise RedwoodError(
            f"{path} was written by another version of redwood (format {written or 1}, here {CONFIG_FORMAT}); start "
            "the run anew, or go on with that version."
        )
    options = flat(config)
    for name in NOT_IN_FILES:
        if name in options:
            raise UsageError(f"In the configuration file {path}, {name} has no place; leave it out.")
    for key, value in options.items():
        problem = problem_of_line(key, value)
        if problem is not None:
            raise RedwoodError(f"In the configuration file {path}, {key} {problem}.")
    return config


def _mapping_in(path: Path) -> dict[str, Any]:
    """Read the options in a configuration file; see `load_config` for the errors."""
    if path.is_dir():
        raise RedwoodError(f"The configuration file {path} is a folder; name the file in it, {path / 'config.yaml'}.")
    try:
        config = read_yaml(read_text(path))
    except RedwoodError as error:
        raise RedwoodError(f"The configuration file {path} {error}") from None
    except OSError as error:
        raise RedwoodError(
            f"The configuration file {path} cannot be read ({error.strerror}); name another file."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise RedwoodError(f"The configuration file {path} is not valid YAML; write lines like `lr: 0.1`.") from error
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise RedwoodError(f"The configuration file {path} has to hold lines like `lr: 0.1`.")
    return config


def problem_of_line(key: str, value: object) -> str | None:
    """Return the problem of an option in a configuration file, or of a keyword; None if it sets exactly one option."""
    parts = value if isinstance(value, list) else [value]
    if not key.isidentifier():
        return "is no name of an option; remove that line"
    if any(isinstance(part, dict | list) for part in parts):
        return "has to be a plain value or a list of these"
    # The command line would take it for another option, which has not been checked for code.
    if any(isinstance(part, str) and part.startswith("--") for part in parts):
        return "holds another option; give that a line of its own"
    return None

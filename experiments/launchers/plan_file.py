"""The plan file of a folder, such as `comparison.yaml`: it describes the work there, so that it can be resumed."""

from collections.abc import Collection
from pathlib import Path

import yaml

from redwood.core.errors import RedwoodError
from redwood.core.files import read_text, write_atomically
from redwood.core.plain_yaml import read_yaml
from redwood.core.schema import Json, Record, check


def read_plan(path: Path, schema: Record, kind: str, readable: Collection[int]) -> Json:
    """Read what `write_plan` wrote.

    Args:
        path: The file.
        schema: What it has to hold.
        kind: The name of such work, which is also the entry with the number of the format.
        readable: Formats that can be read.

    Raises:
        RedwoodError: If the file cannot be read, or is none of this kind.
    """
    remedy = f"start the {kind} anew"
    try:
        content = read_yaml(read_text(path))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RedwoodError(f"{path} is damaged; {remedy}.") from error
    if isinstance(content, dict) and kind in content and content[kind] not in readable:
        raise RedwoodError(f"{path} was written by another version of redwood; {remedy}.")
    check(content, schema, str(path), remedy)
    plan: Json = content
    return plan


def write_plan(path: Path, content: Json) -> None:
    """Write a plan as the first file of its folder, which is made if it is missing.

    Raises:
        RedwoodError: If that cannot be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, yaml.safe_dump(content, sort_keys=False).encode())
    except OSError as error:
        raise RedwoodError(f"--run_dir {path.parent} cannot be written ({error.strerror}).") from error

"""Write a report as one file of HTML that needs nothing else."""

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from redwood import __version__
from redwood.core.errors import RedwoodError
from redwood.core.files import write_atomically
from redwood.core.printable import printable
from redwood.experiments.report.source import Source

REPORT = "report.html"
# The generator, by which a report is known; see `redwood.core.files.refuse_foreign`.
OWN = (re.compile(b'content="redwood '), "--out")
_PARTS = files("redwood.experiments.report") / "assets"


def write_report(sources: Sequence[Source], path: Path) -> list[str]:
    """Write one page on all that some folders hold.

    Args:
        sources: What was read from each folder.
        path: The file to write.

    Returns:
        Sentences on what the page leaves out or keeps apart; they stand on the page, too.

    Raises:
        RedwoodError: If the file cannot be written, or is there and no report.
    """
    from redwood.experiments.report.content import content_of  # it draws, and matplotlib takes seconds

    content = content_of(sources)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render(content).encode(), own=OWN)
    except OSError as error:
        raise RedwoodError(f"The report {path} cannot be written ({error.strerror}).") from error
    return list(content.notes)


def render(content: object) -> str:
    """The page that shows a `redwood.experiments.report.content.Content`; all texts in it are escaped."""
    style, script = (Markup(_part(name)) for name in ("page.css", "sort.js"))
    return filled("page.html", content=content, style=style, script=script, version=__version__)


def filled(template: str, **values: object) -> str:
    """The text of a template with some values; all texts among them are escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_part)
    )
    return printable(environment.get_template(template).render(values))


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")

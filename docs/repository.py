"""Where the files of the repository stand in the site, and the links between them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
# Pages outside of docs/ that the site has, too. Files that pages link to join them.
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)((?:#[\w-]*)?)\)")


def site_path(path: str) -> str:
    """The place of a file in the site; both paths are from the root.

    A Python file and a notebook become pages. What lies in docs/ lies at the root of the site.
    """
    if path == "README.md":
        return "index.md"
    place = PurePosixPath(path.removeprefix("docs/"))
    return str(place.with_suffix(".md") if place.suffix in (".py", ".ipynb") else place)


def targets(page: str, text: str) -> Iterator[str]:
    """The files of the repository that a page links to, from the root."""
    for target, _ in LINK.findall(text):
        if (ROOT / page).parent.joinpath(target).is_file():
            yield _from_root(page, target)


def outside_files() -> set[str]:
    """`OUTSIDE`, and the files outside of docs/ that pages link to, directly or through others."""
    waiting = [*OUTSIDE, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
    seen: set[str] = set()
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            waiting += targets(page, (ROOT / page).read_text()) if page.endswith(".md") else ()
    return {path for path in seen if not path.startswith("docs/")}


def for_site(page: str, text: str) -> str:
    """The text of a page with links as they are in the site."""

    def replaced(match: re.Match[str]) -> str:
        target, anchor = match.groups()
        if not (ROOT / page).parent.joinpath(target).is_file():
            return match[0]
        place = site_path(_from_root(page, target))
        return f"]({os.path.relpath(place, PurePosixPath(site_path(page)).parent)}{anchor})"

    return LINK.sub(replaced, text)


def _from_root(page: str, target: str) -> str:
    return os.path.normpath(PurePosixPath(page).parent / target)

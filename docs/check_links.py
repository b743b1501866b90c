"""Check a site that was built: links lead to files and headings of it, and nothing is loaded from elsewhere.

Run: python -m docs.check_links [FOLDER]; the exit code is 1 if a link is dead.
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src"}


class _Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: list[tuple[str, bool]] = []  # and whether a browser loads it at once

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append((given["href"], False))
        elif tag == "link" and given.get("rel") != "canonical":
            self.links.append((given["href"], True))
        elif tag in LOADED and LOADED[tag] in given:
            self.links.append((given[LOADED[tag]], True))


def dead_links(folder: Path) -> Iterator[str]:
    """One sentence for each link that leads nowhere, and for each file that would be loaded from elsewhere."""
    pages = {path.resolve(): _read(path) for path in folder.rglob("*.html") if path.name != "404.html"}
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        for link, loaded in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if loaded and parts.scheme != "data":
                    yield f"{where} loads {link}, which needs a network."
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{where} links to {link}, which does not exist."
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where} links to {link}, a page that has no such heading."


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


if __name__ == "__main__":
    found = list(dead_links(Path(sys.argv[1] if len(sys.argv) > 1 else "site")))
    print("\n".join(found) or "All links lead somewhere.")
    sys.exit(bool(found))

"""What mkdocs does beside its own: pages that are made from code, links out of docs/, and a check of the built site."""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from textwrap import indent
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # mkdocs loads this file by its path

from docs import check_links, house, items, notebooks, repository
from redwood.methods import METHODS
from redwood.settings import SETTINGS

log = get_plugin_logger("redwood")
COMMENT = re.compile(r"^<!--(?:(?!-->).)*-->\n", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)
# Commands, and below them the same in Python: see `tests/docs/blocks.py`.
TWINS = re.compile(
    r"^(```bash\n(?:(?!```).*\n)*```)\n\n(```python\n(?:import redwood.*\n\n)?redwood\.(?:(?!```).*\n)*```)$",
    re.MULTILINE,
)
ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
DIRECTIVE = re.compile(r"^::: (\S+)\n(?: +.*\n)*", re.MULTILINE)
# The page of the repository behind a page of the site, and texts for readers that are programs.
sources: dict[str, str] = {}
texts: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages that are made from code to the navigation."""
    assert config.nav is not None
    (reference,) = [section["Reference"] for section in config.nav if "Reference" in section]
    made: dict[str, list[Any]] = {
        "Each setting": [f"settings/{key}.md" for key in SETTINGS],
        "Each method": [{family: pages} for family, pages in items.families().items()],
        "API": items.api_pages(),
        "Examples": items.example_pages(),
    }
    for section in reference:
        if isinstance(section, dict):
            for title in section.keys() & made.keys():
                section[title] += made[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from code, the tutorials, and the files outside of docs/ that pages link to."""
    for path, text in items.code_pages().items():
        files.append(File.generated(config, path, content=text))
    for path in repository.outside_files():
        _add_outside(path, files, config)
    for path, content in notebooks.pages().items():
        files.append(File.generated(config, path, content=content))
    sources.update({f"tutorials/{path.stem}.md": f"docs/tutorials/{path.name}" for path in notebooks.notebooks()})
    files.append(File.generated(config, "house.svg", content=house.drawn()))
    sources.update({file.src_uri: f"docs/{file.src_uri}" for file in files if not file.generated_by})
    return files


def _add_outside(path: str, files: Files, config: MkDocsConfig) -> None:
    place, source = repository.site_path(path), repository.ROOT / path
    if files.get_file_from_path(place) is not None:
        return
    if source.suffix == ".py":
        files.append(File.generated(config, place, content=items.source_page(source)))
    elif source.suffix == ".md":
        files.append(File.generated(config, place, content=source.read_text()))
        sources[place] = path
    else:
        files.append(File.generated(config, place, content=source.read_bytes()))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Bring a page of the repository into the form of the site."""
    name = page.file.src_uri
    if name in sources:
        markdown = repository.for_site(sources[name], COMMENT.sub("", markdown))
        markdown = MERMAID.sub("![Who imports whom](house.svg)", markdown)
        if "/" not in name:
            markdown = ROW.sub(_linked, markdown)
    markdown = TWINS.sub(_in_tabs, markdown)
    texts[name] = DIRECTIVE.sub(_documentation, markdown)
    return markdown


def _in_tabs(twins: re.Match[str]) -> str:
    bash, python = (indent(block, "    ") for block in twins.groups())
    return f'=== "Command line"\n\n{bash}\n\n=== "Python"\n\n{python}\n'


def _linked(row: re.Match[str]) -> str:
    folder = "settings" if row[1] in SETTINGS else "methods" if row[1] in METHODS else None
    return f"| [`{row[1]}`]({folder}/{row[1]}.md) |" if folder else row[0]


def _documentation(directive: re.Match[str]) -> str:
    """The docstring that mkdocstrings shows in the HTML."""
    *path, name = directive[1].split(".")
    return f"{inspect.getdoc(getattr(import_module('.'.join(path)), name))}\n"


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write the pages as Markdown beside the HTML, as llms.txt names them, and check all links."""
    folder = Path(config.site_dir)
    for name, text in texts.items():
        (folder / name).write_text(text)
    for name in re.findall(r"\]\(([^)]*)\)", (folder / "llms.txt").read_text()):
        if not (folder / name).is_file():
            log.warning(f"llms.txt names {name}, which does not exist.")
    for sentence in check_links.dead_links(folder):
        log.warning(sentence)

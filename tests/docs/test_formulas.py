"""No sign of a formula is lost on the site: outside of code, Markdown takes *, _ and < for marks of its own."""

import html
import inspect
import re
from collections import Counter
from importlib import import_module

import markdown
import nbformat
import pytest
import yaml
from docs.generate import plain, regenerated
from docs.hooks import COMMENT, DIRECTIVE
from docs.items import code_pages
from docs.notebooks import notebooks
from docs.repository import OUTSIDE, ROOT
from griffe import Docstring, DocstringSectionKind

SIGNS = "*_^|<>\\~"
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n+)+")
CODE = re.compile(r"(`+).+?\1", re.DOTALL)
LINK = re.compile(r"\]\([^)]*\)")
# Marks that are meant: **strong** and *emphasis* do not touch a letter from outside.
MEANT = re.compile(r"(?<![\w*\\])(\*\*?)(?=[^\s*])([^*]+)(?<=[^\s*\\])\1(?![\w*])")


def site_markdown():
    """What renders a page: the extensions of `mkdocs.yml`."""
    listed = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["markdown_extensions"]
    options = {name: more for entry in listed if isinstance(entry, dict) for name, more in entry.items()}
    names = [name for entry in listed for name in (entry if isinstance(entry, dict) else [entry])]
    return markdown.Markdown(extensions=names, extension_configs=options | {"toc": {}})


def written(text):
    """How often each sign stands in the source of a page, outside of code and of what is meant as a mark."""
    text = CODE.sub("c", INDENTED.sub("", FENCE.sub("", COMMENT.sub("", text))))
    text = MEANT.sub(r"\2", LINK.sub("", text))
    lines = [line for line in text.splitlines() if not re.fullmatch(r"\|[-:| ]+\|", line)]
    text = "\n".join(re.sub(r"(?<!\\)\|", "", line) if line.startswith("|") else line for line in lines)
    return Counter(sign for sign in html.unescape(re.sub(r"\\([*_|\\])", r"\1", text)) if sign in SIGNS)


def shown(page):
    """How often each sign is seen on a rendered page, outside of code."""
    text = re.sub(r"<(code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    return Counter(sign for sign in html.unescape(re.sub(r"<[^>]*>", "", text)) if sign in SIGNS)


def lost(text, renderer):
    """The signs that a text has and its page has not."""
    page = renderer.reset().convert(COMMENT.sub("", text))
    return "".join(sorted((written(text) - shown(page)).elements()))


def docstrings(text):
    """The docstrings that mkdocstrings puts into a page, each with its members' where these are shown, part by part."""
    for directive in DIRECTIVE.finditer(text):
        *path, name = directive[1].split(".")
        found = getattr(import_module(".".join(path)), name)
        members = [] if "members: false" in directive[0] else [one for key, one in vars(found).items() if key[0] != "_"]
        for thing in (found, *(one for one in members if inspect.isroutine(one) or isinstance(one, property))):
            for section in Docstring(inspect.getdoc(thing) or "").parse("google", warnings=False):
                if section.kind is DocstringSectionKind.text:
                    yield section.value
                elif isinstance(section.value, list):
                    yield from (entry.description for entry in section.value if hasattr(entry, "description"))


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("F_i (w_i - w*_i)^2, with the weights w* of task k", "**"),
        ("F_k = gamma F_(k-1) + F_k", ""),
        ("F*_k = gamma F*_(k-1) + F_k", "**"),
        ("in runs/<time>-<method>", "<<>>"),
        ("`w*_i - w*` is *not* lost, nor is **this**: a * b", ""),
        ("| a | b |\n| --- | --- |\n| `x|y` \\| z | s_*: t, s_*: u |", "**"),
    ],
)
def test_what_is_lost_is_found(text, signs):
    assert lost(text, site_markdown()) == signs


def test_plain_text_keeps_its_signs():
    text = "s_*: tasks, s_*: others, as in `a*b*c`, runs/<time>, \\d"
    assert lost(plain(text), site_markdown()) == "" and plain("--lr_decay `s_*`") == "--lr_decay `s_*`"
    assert written(plain(text)) == Counter("**__<>\\")


@pytest.mark.slow
def test_every_page_shows_its_formulas():
    pages = {path: (ROOT / path).read_text() for path in OUTSIDE}
    pages |= {path.name: regenerated(path.read_text()) for path in sorted((ROOT / "docs").glob("*.md"))}
    for path in notebooks():
        cells = nbformat.read(path, as_version=4).cells
        pages[path.name] = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    pages |= {path: text for path, text in code_pages().items() if not path.startswith("examples/")}
    renderer = site_markdown()
    texts = {path: [DIRECTIVE.sub("", text), *docstrings(text)] for path, text in pages.items()}
    assert sum(map(len, texts.values())) > 500, "docstrings are among them"
    found = {path: [signs for text in parts if (signs := lost(text, renderer))] for path, parts in texts.items()}
    assert {path: signs for path, signs in found.items() if signs} == {}

"""The site: every page is in its navigation, links of the repository become links of the site, dead ones are told."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs.check_links import dead_links
from docs.items import code_pages, families
from docs.repository import ROOT, for_site, outside_files, site_path

from redwood.methods import METHODS
from redwood.settings import SETTINGS

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def in_navigation(entry):
    if isinstance(entry, str):
        return [entry]
    return [page for value in (entry.values() if isinstance(entry, dict) else entry) for page in in_navigation(value)]


def test_each_page_is_once_in_the_navigation():
    pages = in_navigation(CONFIG["nav"])
    written = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs" / "tutorials").glob("*.ipynb"), ROOT / "README.md"]
    assert {site_path(path.relative_to(ROOT).as_posix()) for path in written} <= set(pages)
    assert len(pages) == len(set(pages))


def test_each_setting_and_method_has_a_page():
    pages = code_pages()
    assert {f"settings/{key}.md" for key in SETTINGS} | {f"methods/{key}.md" for key in METHODS} <= pages.keys()
    assert sorted(page for listed in families().values() for page in listed) == sorted(
        page for page in pages if page.startswith("methods/")
    )
    assert "| `--alpha` | 0.5 | weight of the stored outputs |" in pages["methods/der.md"]
    assert "[`rehearsal`](../methods/rehearsal.md)" in pages["settings/class_incremental.md"]
    assert "examples/label_smoothing.md" in pages


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("README.md", "[a](docs/running.md#compare)", "[a](running.md#compare)"),
        ("README.md", "[a](CONTRIBUTING.md)", "[a](CONTRIBUTING.md)"),
        ("docs/data.md", "[a](../benchmarks/README.md#drift)", "[a](benchmarks/README.md#drift)"),
        ("docs/buffers.md", "[a](../examples/plain_pytorch.py)", "[a](examples/plain_pytorch.md)"),
        ("benchmarks/README.md", "[a](../docs/streams.md)", "[a](../streams.md)"),
        ("docs/tutorials/own_method.ipynb", "[a](own_setting.ipynb)", "[a](own_setting.md)"),
        ("docs/data.md", "[a](https://keepachangelog.com) [b](#tables) x[1](y)", None),
        ("docs/data.md", "[a](not_there.md)", None),
    ],
)
def test_links_become_those_of_the_site(page, text, expected):
    assert for_site(page, text) == (expected or text)


def test_files_that_pages_link_to_join_the_site():
    assert {"benchmarks/results/osaka.md", "examples/plain_pytorch.py", "LICENSE"} - outside_files() == {"LICENSE"}


def test_dead_links_are_told(tmp_path):
    (tmp_path / "b.html").write_text('<h1 id="here">b</h1>')
    links = ("b.html#here", "b.html", "#top", "c.html", "b.html#gone", "https://example.org")
    page = '<p id="top">' + "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "a.html").write_text(f'{page}<script src="https://example.org/x.js"></script><img src="data:,">')
    found = [sentence.removeprefix("a.html ") for sentence in dead_links(tmp_path)]
    assert [sentence.split(",")[0] for sentence in found] == [
        "links to c.html",
        "links to b.html#gone",
        "loads https://example.org/x.js",
    ]


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(dead_links(tmp_path)) == []

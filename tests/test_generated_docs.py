"""The pages of docs/ say what the code says."""

import re

import pytest
from docs.generate import pages, regenerated, tree_file

from docs import llms
from redwood.experiments.stored_tree import FILE


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_page_is_up_to_date(path):
    page = path.read_text()
    assert regenerated(page) == page, f"run: python -m docs.generate (it writes docs/{path.name})"


def test_llms_txt_is_up_to_date():
    assert llms.FILE.read_text() == llms.text(), "run: python -m docs.generate (it writes docs/llms.txt)"


def test_the_file_of_the_tree_is_up_to_date():
    message = "run: python -m docs.generate (it writes experiments/stored_tree.json)"
    assert FILE.read_text() == tree_file(), message


def test_there_are_pages():
    assert {path.name for path in pages()} >= {"methods.md", "settings.md", "running.md"}


def test_each_option_says_what_it_is():
    rows = re.findall(r"^\| `--.*\|$", "\n".join(path.read_text() for path in pages()), re.MULTILINE)
    options = [row.strip("| ").split(" | ") for row in rows if row.count(" | ") == 2]
    assert len(options) > 100
    assert all(text.strip() for _, _, text in options), options

"""Each command of the pages that runs a pair or a comparison has a line of Python that does the same."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import redwood
from redwood.cli import main
from redwood.engine.pair_results import PairResults
from redwood.experiments.command_line.options import Options, parse_pairs
from redwood.experiments.comparisons import compare as comparisons
from redwood.experiments.comparisons.comparison import Comparison
from redwood.experiments.runs import runner
from redwood.settings.config import describe_run
from tests.docs.blocks import ALL, CLI, COMMANDS, ROOT, calls, is_twin
from tests.experiments.report.made import made_results
from tests.small_runs import comparable

CHOICES = {"--setting", "--preset", "--config", "--suite"}
SMALL = {"passes": 1, "accelerator": "cpu", "quiet": True}


def commands_of(page: str) -> list[list[str]]:
    """The commands of a page that start runs, those inside of sentences included."""
    found = [command.words for command in COMMANDS if command.where.startswith(f"{page}:")]
    found += [shlex.split(text) for text in re.findall(rf"`({CLI}--[^`]*)`", prose_of(page))]
    starts = [words for words in found if words[:2] == CLI.split() and words[2].startswith("--")]
    return [words[2:] for words in starts if CHOICES & set(words) and "--help" not in words]


def calls_of(page: str) -> list[str]:
    """The calls of `redwood.run` and `redwood.compare` of a page; all others are run by the tests of its Python."""
    found = [call for block in ALL if block.page == page and is_twin(block) for call in calls(block)]
    return found + [
        call for call in re.findall(r"`(redwood\.(?:run|compare)\([^`]*)`", prose_of(page)) if "My" not in call
    ]


def prose_of(page: str) -> str:
    """A page without blocks, and without tables: these tell of machines that a test does not have."""
    return re.sub(r"^```.*?^```$|^\|[^\n]*$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


PAGES = [page for page in dict.fromkeys(block.page for block in ALL) if commands_of(page)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was started, whether from the command line or from Python; nothing is trained."""
    found: list[Any] = []

    def compared(pairs, arguments, n_seeds, console, how, *, n_orders=None, table=None, **_):
        arguments = [one for one in arguments if not one.startswith("--run_dir=")]
        found.append((pairs, list(map(described, parse_pairs(pairs, arguments))), n_seeds, how, n_orders, table))
        return Comparison([PairResults("s", "m", [made_results()])])

    def executed(options: Options) -> Any:
        found.append((described(options), options.run.run_dir))
        return made_results()

    monkeypatch.setattr(comparisons, "compare", compared)
    monkeypatch.setattr(runner, "execute", executed)
    monkeypatch.setattr(runner, "run_pair", lambda pair, options, console: executed(options))
    monkeypatch.setattr(runner, "report", lambda folder: None)
    return found


def described(options: object) -> object:
    return describe_run(options.setting, options.method, options.run) if isinstance(options, Options) else str(options)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_the_same_in_python(page, workshop, started, monkeypatch):
    for words in commands_of(page):
        assert main([word.replace("runs/...", "runs/x") for word in words]) == 0
    commanded = list(started)
    started.clear()
    for call in calls_of(page):
        eval(call.replace("runs/...", "runs/x"), {"redwood": redwood})
    assert len(commanded) == len(commands_of(page)) > 0
    for command, words in zip(commanded, commands_of(page), strict=True):
        assert command in started, words
    for call, one in zip(calls_of(page), started, strict=True):
        assert one in commanded, call


def test_all_pages_are_looked_at():
    assert len(PAGES) > 18 and {"README.md", "docs/running.md", "docs/parts.md"} <= set(PAGES)
    assert sum(len(calls_of(page)) for page in PAGES) > 50


@pytest.mark.parametrize(
    ("page", "number"),
    [("README.md", 0), ("docs/parts.md", 0), ("docs/statistics.md", 0), ("docs/streams.md", 3)],
    ids=lambda value: str(value).replace("/", "-"),
)
def test_both_run_to_equal_results(page, number, workshop):
    """A small run: a few options are added to both."""
    call = ast.parse(calls_of(page)[number], mode="eval").body
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords} | {"run_dir": "called"}
    names = [ast.literal_eval(one) for one in call.args]
    several = "seeds" in given or any(isinstance(name, list) for name in names)
    small = {name: value for name, value in SMALL.items() if name not in given} | ({"nb_tasks": 2} if several else {})
    given |= small | ({"seeds": 2, "jobs": 1} if several else {})
    words = list(commands_of(page)[number])
    words += [f"--{name}={value}" for name, value in small.items()] + ["--run_dir", "commanded"]
    if several:
        words[words.index("--seeds") + 1] = "2"
        words += ["--jobs", "1"]
    shown = getattr(redwood, call.func.attr)(*names, **given)
    assert main(words) == 0
    assert files_in(Path("called")) == files_in(Path("commanded"))
    called = shown.results if isinstance(shown, Comparison) else [shown]
    commanded = [redwood.Results.load(path) for path in sorted(Path("commanded").rglob("results.json"))]
    assert by_run(called) == by_run(commanded) and len(called) == (6 if several else 1)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def by_run(runs: list[redwood.Results]) -> dict[object, object]:
    return {(run.method, run.seed): comparable(run) for run in runs}

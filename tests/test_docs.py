"""The documentation works: its Python runs, its commands run or are understood, its links lead somewhere."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from redwood.branches.ctrl.pools import CTRL_STREAMS
from redwood.experiments.suites.choice import FOLDER as SUITES
from redwood.methods import AGENT_PARTS, METHODS, get_method
from redwood.methods.agents.agent import Agent
from redwood.settings import SETTINGS, get_setting
from redwood.settings.data.drift import CONTEXTS
from redwood.settings.data.task_list import ENTRIES

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "streams.md").read_text()
ENVIRONMENTS = (DOCS / "reinforcement.md").read_text()

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]*))?\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist_and_define_what_is_said(page):
    """Each `file.py` and `file.py:name` in backticks, where the name may be `Class.method`."""
    folders = "examples|core|settings|engine|buffers|methods|branches|experiments"
    for path, name in re.findall(rf"`((?:{folders})/[a-z0-9_/]+\.py)(?::([\w.]+))?`", page.read_text()):
        text = (ROOT / path).read_text()
        for part in name.split(".") if name else ():
            assert re.search(rf"^ *(?:class|def) {part}\b|^{part}\b.* = ", text, re.MULTILINE), f"{path}:{name}"


def test_the_kinds_of_drift_and_their_contexts():
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", TEXT, re.MULTILINE)) == {
        kind: str(n) for kind, n in CONTEXTS.items()
    }


def test_the_methods_that_predict_numbers():
    (sentence,) = re.findall(r"^- ([^-]*?) predict numbers", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name in METHODS if get_method(name).regression}


class TestEnvironments:
    def test_the_settings_and_methods_of_the_tables_exist(self):
        agents = {key for key in METHODS if issubclass(get_method(key), Agent)}
        assert names_in_table("`--method`") == agents
        parts = set(re.findall(r"`\+(\w+)` \|", ENVIRONMENTS))
        assert parts == AGENT_PARTS.keys()
        settings = names_in_table("`--setting`")
        assert settings
        assert settings <= SETTINGS.keys()

    def test_the_suites_of_the_table_are_those_that_are_shipped(self):
        assert names_in_table("suite") == {path.stem for path in SUITES.glob("*.yaml")}

    def test_the_metrics_of_the_table_are_those_of_curves(self):
        """`success_over_time` needs environments that report success."""
        setting = get_setting("incremental_rl")(nb_tasks=2, steps_per_task=32, test_episodes=1, eval_every=16)
        method = get_method("random")
        curves = setting.apply(method(), quiet=True).metrics
        plain = replace(setting, eval_every=0).apply(method(), quiet=True).metrics
        assert names_in_table("metric") - {"success_over_time"} == curves.keys() - plain.keys()


def names_in_table(header):
    """The names in the first column of the table with this header in the page on environments."""
    (rows,) = re.findall(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", ENVIRONMENTS, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in rows.splitlines())))


def test_targets_in_the_tables():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", ENVIRONMENTS, re.MULTILINE)
    for method, setting in rows:
        assert get_method(method).target is get_setting(setting)
    for part, setting in re.findall(r"`\+(\w+)` \| `(\w+)` \|", ENVIRONMENTS):
        assert get_method(f"dqn+{part}").target is get_setting(setting)


def test_the_method_of_the_readme_is_the_example():
    (first,) = re.findall(r"```python\n(@dataclass\n.*?)```", PAGES[0].read_text(), re.DOTALL)
    example = (ROOT / "examples" / "label_smoothing.py").read_text()
    for line in first.splitlines():
        assert line.split("  #")[0] in example, line


TASK_STREAMS = (DOCS / "task_streams.md").read_text()


def test_the_keys_of_a_task_and_the_ctrl_streams():
    keys = re.findall(r"^\| `(\w+)` \|", TASK_STREAMS, re.MULTILINE)
    assert keys == [*sorted(ENTRIES, key=keys.index), *CTRL_STREAMS]

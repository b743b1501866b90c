"""The documentation works: its Python runs, its commands run or are understood, its links lead somewhere."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from redwood.cli import main
from redwood.experiments.arguments import parse_selection
from redwood.experiments.options import check_arguments, parse_options
from redwood.experiments.pairs import Pair, select_pairs
from redwood.experiments.suites.choice import FOLDER as SUITES
from redwood.methods import AGENT_PARTS, METHODS, get_method
from redwood.methods.agents.agent import Agent
from redwood.settings import SETTINGS, get_setting
from redwood.settings.data.ctrl import CTRL_STREAMS
from redwood.settings.data.drift import CONTEXTS
from redwood.settings.data.task_list import ENTRIES
from redwood.settings.results import Results

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "streams.md").read_text()
ENVIRONMENTS = (DOCS / "reinforcement.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^python cli\.py (.*)$", TEXT, re.MULTILINE)

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
    folders = "examples|core|settings|runs|buffers|methods|experiments"
    for path, name in re.findall(rf"`((?:{folders})/[\w/]+\.py)(?::([\w.]+))?`", page.read_text()):
        text = (ROOT / path).read_text()
        for part in name.split(".") if name else ():
            assert re.search(rf"^ *(?:class|def) {part}\b|^{part}\b.* = ", text, re.MULTILINE), f"{path}:{name}"


def test_the_commands_of_the_readme_are_understood():
    commands = [*PAGES[0].read_text().splitlines(), *(DOCS / "running.md").read_text().splitlines()]
    pairs = [line.split("#")[0].split()[2:] for line in commands if line.startswith("python cli.py --setting")]
    assert len(pairs) > 8
    for arguments in pairs:
        chosen, rest = parse_selection(arguments)
        found, _ = select_pairs(chosen.setting, chosen.method, rest)
        check_arguments(found, rest)


@pytest.mark.parametrize("code", CODE, ids=["numbers", "backbone"])
def test_code(code):
    names = {}
    exec(code, names)
    metrics = names["results"].metrics
    assert metrics.get("average_rmse", 0) < 0.1
    assert metrics.get("average_accuracy", 1) > 0.85


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.few(2)
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez("mine.npz", x=x, y=x.sum(1))
    arguments = command.split()
    if "cifar10" in arguments:
        parse_options(Pair(arguments[1], arguments[3]), arguments[4:])
    else:
        assert main([*arguments, "--run_dir", "run", "--accelerator", "cpu"]) == 0
        assert (tmp_path / "run" / "results.json").exists()


def test_the_kinds_of_drift_and_their_contexts():
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", TEXT, re.MULTILINE)) == {
        kind: str(n) for kind, n in CONTEXTS.items()
    }


def test_the_methods_that_predict_numbers():
    (sentence,) = re.findall(r"^- ([^-]*?) predict numbers", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name in METHODS if get_method(name).regression}


class TestEnvironments:
    def test_code(self):
        (code,) = re.findall(r"```python\n(.*?)```", ENVIRONMENTS, re.DOTALL)
        names = {}
        exec(code, names)
        assert 5 < names["results"].metrics["average_return"] < 15

    @pytest.mark.slow
    def test_commands(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        commands = [line.split()[2:] for line in ENVIRONMENTS.splitlines() if line.startswith("python cli.py")]
        assert len(commands) == 5
        few = {"steps_per_task": 32, "n_envs": 1, "n_steps": 16, "batch_size": 8, "test_episodes": 1, "nb_tasks": 2}
        for command in commands:
            own = re.sub(rf"--({'|'.join(few)}) \S+", "", " ".join(command)).split()
            assert main([*own, *(f"--{name}={value}" for name, value in few.items()), "--accelerator", "cpu"]) == 0
        assert len(list(tmp_path.glob("runs/*"))) == len(commands)

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
    (first, _) = re.findall(r"```python\n(.*?)```", PAGES[0].read_text(), re.DOTALL)
    example = (ROOT / "examples" / "label_smoothing.py").read_text()
    for line in first.splitlines():
        assert line.split("  #")[0] in example, line


TASK_STREAMS = (DOCS / "task_streams.md").read_text()


@pytest.mark.parametrize("command", re.findall(r"^python cli\.py (.*)$", TASK_STREAMS, re.MULTILINE))
@pytest.mark.few(1)
def test_task_streams(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"tasks.yaml": "- ", "pool.yaml": "concepts:"}
    for name, start in names.items():
        (text,) = re.findall(rf"```yaml\n({start}.*?)```", TASK_STREAMS, re.DOTALL)
        Path(name).write_text(text)
    assert main([*command.split(), "--run_dir", "run", "--passes", "4", "--accelerator", "cpu"]) == 0
    assert Results.load("run/results.json").config["task_list"]


def test_the_keys_of_a_task_and_the_ctrl_streams():
    keys = re.findall(r"^\| `(\w+)` \|", TASK_STREAMS, re.MULTILINE)
    assert keys == [*sorted(ENTRIES, key=keys.index), *CTRL_STREAMS]


def test_the_module_library(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.DOTALL):
        exec(code, names)
    assert [record.key for record in names["library"].modules()] == [names["stem"]]
    assert names["weights"][1]["weight"].shape == (2, 8)
    files = set(re.findall(r"^\| `([\w./]+)` \|", (DOCS / "library.md").read_text(), re.MULTILINE))
    left = {
        path.relative_to("modules").as_posix().replace(names["stem"], "KEY") for path in Path("modules").rglob("*.*")
    }
    assert left == files - {"networks/KEY.json", "lineage.png", ".lock"} | {".lock"} & left

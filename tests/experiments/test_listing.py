import io
import subprocess
import sys

from rich.console import Console

from redwood.experiments import listing
from redwood.experiments.listing import describe_settings
from redwood.experiments.tree_view import setting_tree
from redwood.settings import CumulativeSetting, get_setting
from tests.cli.command import environment


def test_a_method_of_another_package_is_loaded_and_listed(monkeypatch):
    monkeypatch.setattr(listing, "method_names", lambda: ["random", "joint", "redwood.methods.baselines:StableSGD"])
    records = {record["key"]: record["methods"] for record in describe_settings()}
    assert records["cumulative"] == ["random", "joint", "redwood.methods.baselines:StableSGD"]
    assert records["online_class_incremental"] == ["random", "redwood.methods.baselines:StableSGD"]
    assert records["incremental_rl"] == ["random"]


def test_no_method_is_imported(tmp_path):
    code = (
        "import sys; from redwood.cli import main; main(['list', '--json']);"
        "print([name for name in sys.modules if name.startswith('redwood.methods.')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr.strip()) == (0, "['redwood.methods.table']")


def test_each_node_shows_what_it_adds_and_its_other_parents():
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(setting_tree(describe_settings()))
    lines = [line.strip(" │├└─") for line in console.file.getvalue().splitlines()]
    assert "task_incremental + task_ids_at_test" in lines
    assert "online_traditional (also under online_class_incremental)" in lines
    assert "multi_task (also under traditional)" in lines


def test_a_setting_of_another_package_is_listed(monkeypatch):
    """With a parent that has no key, it stands at the root under its own name."""
    classes = {"theirs": type("Theirs", (CumulativeSetting,), {})}
    monkeypatch.setattr(listing, "setting_names", lambda: ["continual", "theirs"])
    monkeypatch.setattr(listing, "get_setting", lambda name: classes.get(name) or get_setting(name))
    records = describe_settings()
    theirs = records[1]
    assert (theirs["key"], theirs["class"], theirs["parents"]) == ("theirs", "Theirs", ["CumulativeSetting"])
    assert [branch.label.split()[0] for branch in setting_tree(records).children] == [
        "[bold]continual[/]",
        "[bold]theirs[/]",
    ]

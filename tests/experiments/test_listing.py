import io

from rich.console import Console

from redwood.experiments import listing
from redwood.experiments.listing import applicable_methods, describe_settings, setting_tree
from redwood.methods import get_method
from redwood.settings import CumulativeSetting, OnlineClassIncrementalSetting


def test_methods_that_apply():
    methods = {name: get_method(name) for name in ("random", "joint", "rehearsal")}
    assert applicable_methods(CumulativeSetting, methods) == ["random", "joint", "rehearsal"]
    assert applicable_methods(OnlineClassIncrementalSetting, methods) == ["random", "rehearsal"]


def test_each_node_shows_what_it_adds_and_its_other_parents():
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(setting_tree())
    lines = [line.strip(" │├└─") for line in console.file.getvalue().splitlines()]
    assert "task_incremental + task_ids_at_test" in lines
    assert "online_traditional (also under online_class_incremental)" in lines
    assert "multi_task (also under traditional)" in lines


def test_a_setting_of_another_package_is_listed(monkeypatch):
    """With a parent that has no key, it stands at the root under its own name."""
    names = ["continual", "theirs"]
    classes = {"continual": listing.get_setting("continual"), "theirs": type("Theirs", (CumulativeSetting,), {})}
    monkeypatch.setattr(listing, "setting_names", lambda: names)
    monkeypatch.setattr(listing, "get_setting", classes.__getitem__)
    theirs = describe_settings()[1]
    assert (theirs["key"], theirs["class"], theirs["parents"]) == ("theirs", "Theirs", ["CumulativeSetting"])
    assert [branch.label.split()[0] for branch in setting_tree().children] == ["[bold]continual[/]", "[bold]theirs[/]"]

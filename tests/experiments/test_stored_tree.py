"""What the file of the tree says is what the classes say, and it does not count once they have changed."""

import shutil

import pytest

from redwood.core.errors import NotApplicableError
from redwood.experiments import stored_tree as module
from redwood.experiments.command_line.pairs import select_pairs
from redwood.experiments.listing import describe_settings
from redwood.experiments.stored_tree import stored_reason, stored_tree
from redwood.methods import METHODS
from redwood.settings import SETTINGS

UNDER = {record["key"]: record["methods"] for record in describe_settings()}


@pytest.mark.parametrize(
    ("setting", "method"),
    [
        ("continual", "ewc"),
        ("incremental_rl", "ewc"),
        ("online_class_incremental", "dqn"),
        ("traditional", "joint"),
        ("class_incremental", "joint"),
    ],
)
def test_a_method_that_does_not_apply_is_refused_in_the_same_words(setting, method):
    with pytest.raises(NotApplicableError) as expected:
        select_pairs(setting, method)
    assert stored_reason(setting, method) == str(expected.value)


def test_an_upper_bound_says_where_it_can_be_had():
    reason = stored_reason("domain_incremental", "joint")
    assert (
        "Write --setting cumulative_domain_incremental --method joint, or --method finetune,joint to show it" in reason
    )
    assert "Write" not in stored_reason("class_incremental", "hat") + stored_reason("traditional", "joint")


def test_no_reason_where_a_method_applies_or_requires_more():
    assert stored_reason("class_incremental", "ewc") is None
    under = UNDER["online_class_incremental"]
    method = next(name for name, entry in METHODS.items() if entry.requires and name not in under)
    assert stored_reason("online_class_incremental", method) is None


class TestChanged:
    """A copy of the sources, as the fields of their classes are written."""

    @pytest.fixture
    def tree(self, tmp_path, monkeypatch):
        for folder in ("settings", "branches", "core"):  # a setting's base lies in core
            shutil.copytree(module.ROOT / folder, tmp_path / folder, ignore=lambda *_: {"__pycache__"})
        monkeypatch.setattr(module, "ROOT", tmp_path)
        module._declarations.cache_clear()
        yield tmp_path / "settings" / "tree.py"
        module._declarations.cache_clear()

    def test_it_counts_as_long_as_the_classes_stay(self, tree):
        tree.write_text(tree.read_text() + "\n\ndef more() -> None:\n    return None\n")
        assert list(stored_tree().values()) == describe_settings()

    def test_another_promise_of_a_setting(self, tree):
        text = tree.read_text()
        tree.write_text(
            text.replace(
                "class CumulativeSetting(ClassIncrementalSetting", "class CumulativeSetting(TraditionalSetting"
            )
        )
        assert tree.read_text() != text
        assert stored_tree() is None


def test_a_setting_of_another_package_is_not_in_the_file(monkeypatch):
    monkeypatch.setattr(module, "setting_names", lambda: [*SETTINGS, "theirs"])
    assert stored_tree() is None

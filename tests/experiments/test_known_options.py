"""What the file of options says is what the classes say, and it does not count once they have changed."""

import shutil

import pytest

from redwood.core.errors import NotApplicableError
from redwood.experiments import known_options
from redwood.experiments.arguments import UsageError
from redwood.experiments.known_options import known_pair, known_reason, known_tree
from redwood.experiments.listing import describe_settings
from redwood.experiments.options import check_arguments, pair_help, parse_options
from redwood.experiments.pairs import Pair, select_pairs
from redwood.methods import METHODS
from redwood.settings import SETTINGS

FEW = [("class_incremental", "rehearsal"), ("traditional_rl", "dqn"), ("online_traditional", "random")]
UNDER = {record["key"]: record["methods"] for record in describe_settings()}
ONE_OF_EACH = [
    *((setting, UNDER[setting][-1]) for setting in SETTINGS),
    *((next(setting for setting in SETTINGS if method in UNDER[setting]), method) for method in METHODS),
]


def same_help(setting, method, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    return known_pair(setting, method).help() == pair_help(Pair(setting, method))


@pytest.mark.parametrize("columns", ["70", "160"])
@pytest.mark.parametrize(("setting", "method"), FEW)
def test_help_is_that_of_the_classes(setting, method, columns, monkeypatch):
    assert same_help(setting, method, columns, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "method"), ONE_OF_EACH)
def test_help_of_each_setting_and_method_is_that_of_its_class(setting, method, monkeypatch):
    assert same_help(setting, method, "100", monkeypatch)


@pytest.mark.parametrize(
    "arguments",
    [["--lr", "much"], ["--lr"], ["--batch_size", "1.5"], ["--quiet", "3", "4"], ["--lrr", "1"], ["5"]],
)
def test_what_is_refused_is_refused_by_the_classes_in_the_same_words(arguments):
    pair = Pair("class_incremental", "rehearsal")
    with pytest.raises(UsageError) as found:
        known_pair(pair.setting, pair.method).check(arguments)
    with pytest.raises(UsageError) as expected:
        check_arguments([pair], arguments)
        parse_options(pair, arguments)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize(
    "arguments",
    [[], ["--lr", "1e-3"], ["--quiet"], ["--noquiet"], ["--nb_tasks=5"], ["--optimizer_options", "a=1", "b=2"]],
)
def test_what_the_classes_take_is_taken(arguments):
    known_pair("class_incremental", "rehearsal").check(arguments)


@pytest.mark.parametrize(
    ("setting", "method"),
    [("continual", "ewc"), ("incremental_rl", "ewc"), ("online_class_incremental", "dqn"), ("traditional", "joint")],
)
def test_a_method_that_does_not_apply_is_refused_in_the_same_words(setting, method):
    with pytest.raises(NotApplicableError) as expected:
        select_pairs(setting, method)
    assert known_reason(setting, method) == str(expected.value)


def test_no_reason_where_a_method_applies_or_requires_more():
    assert known_reason("class_incremental", "ewc") is None
    under = UNDER["online_class_incremental"]
    method = next(name for name, entry in METHODS.items() if entry.requires and name not in under)
    assert known_reason("online_class_incremental", method) is None


def test_pairs_that_the_file_is_not_about():
    assert known_pair("continual", "ewc") is None, "it does not apply"
    assert known_pair("class_incremental", "ewc+rehearsal") is None
    assert known_pair("class_incremental", "mine.py:Mine") is None
    assert known_pair("class_incremental,traditional", "rehearsal") is None


class TestChanged:
    """A copy of the sources, as the fields of their classes are written."""

    @pytest.fixture
    def rehearsal(self, tmp_path, monkeypatch):
        for package in ("methods", "settings", "engine", "core"):
            shutil.copytree(known_options.ROOT / package, tmp_path / package, ignore=lambda *_: {"__pycache__"})
        monkeypatch.setattr(known_options, "ROOT", tmp_path)
        known_options._declarations.cache_clear()
        yield tmp_path / "methods" / "replay" / "rehearsal.py"
        known_options._declarations.cache_clear()

    def test_it_counts_as_long_as_the_fields_stay(self, rehearsal):
        rehearsal.write_text(rehearsal.read_text() + "\n\ndef more() -> None:\n    return None\n")
        assert known_pair("class_incremental", "rehearsal") is not None
        assert list(known_tree().values()) == describe_settings()

    def test_a_new_field_of_a_class(self, rehearsal):
        text = rehearsal.read_text()
        rehearsal.write_text(
            text.replace("    def __post_init__", "    more: int = 1  # one\n\n    def __post_init__", 1)
        )
        assert rehearsal.read_text() != text
        assert known_pair("class_incremental", "rehearsal") is None
        assert known_pair("class_incremental", "finetune") is not None and known_tree() is not None

    def test_another_promise_of_a_setting(self, rehearsal):
        tree = rehearsal.parents[2] / "settings" / "tree.py"
        text = tree.read_text()
        tree.write_text(
            text.replace(
                "class CumulativeSetting(ClassIncrementalSetting", "class CumulativeSetting(TraditionalSetting"
            )
        )
        assert tree.read_text() != text
        assert known_tree() is None


def test_a_setting_of_another_package_is_not_in_the_file(monkeypatch):
    monkeypatch.setattr(known_options, "setting_names", lambda: [*SETTINGS, "theirs"])
    assert known_tree() is None

from dataclasses import dataclass

import pytest

from redwood.branches.label_budget.setting import LabelBudgetSetting
from redwood.core.overrides import warn_of_misnamed
from redwood.core.registry import load_object
from redwood.methods import AGENT_PARTS, METHODS, Rehearsal
from redwood.methods.baselines import Finetune
from redwood.settings.scores.results import Results
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import ClassIncrementalSetting


@pytest.mark.parametrize(
    ("name", "meant"),
    [("networks", "make_network"), ("augmnet", "augment"), ("losss", "losses")],
)
def test_a_name_that_is_nearly_that_of_a_hook_is_told(name, meant):
    with pytest.warns(UserWarning, match=f"Own.{name} is called by nothing; if it is to override {meant}, give it"):
        type("Own", (Rehearsal,), {name: lambda self: None})


def test_so_is_a_hook_that_only_the_target_calls():
    with pytest.warns(UserWarning, match="Own.querry is called by nothing; if it is to override query, give it"):
        type("Own", (Rehearsal,), {"target": LabelBudgetSetting, "querry": lambda self, x, task_id, limit: None})


def test_overrides_helpers_and_other_names_are_not(recwarn):
    @dataclass
    class Own(Rehearsal):
        def make_network(self):
            return self.a_network()

        def a_network(self):
            return super().make_network()

        def report(self):
            """For whoever has run it."""

    assert not recwarn.list


@pytest.mark.parametrize("entry", [*METHODS.values(), *AGENT_PARTS.values()], ids=lambda entry: entry.reference)
def test_no_method_of_ours_gives_a_false_alarm(entry, recwarn, monkeypatch):
    cls = load_object("method", entry.reference)
    monkeypatch.setattr(cls, "__module__", "of_a_user")
    warn_of_misnamed(cls, 1, cls.target.hooks)
    assert not recwarn.list


@pytest.mark.parametrize(
    ("base", "name", "value", "words"),
    [
        (SupervisedStream, "split_in_phases", lambda self: None, "called by nothing; if it is to override split_into_"),
        (
            SupervisedStream,
            "results_fields",
            lambda self, details: {},
            "called by nothing; if it is to override result_",
        ),
        (Results, "figure", lambda self: {}, "called by nothing; if it is to override figures"),
        (ClassIncrementalSetting, "stream_typ", SupervisedStream, "read by nothing; if it is to set stream_type"),
        (Finetune, "targt", ClassIncrementalSetting, "read by nothing; if it is to set target"),
    ],
)
def test_settings_streams_and_results_are_looked_at_too(base, name, value, words):
    with pytest.warns(UserWarning, match=f"Own.{name} is {words}"):
        type("Own", (base,), {name: value, "__module__": __name__})


class TestTakenOptions:
    """An option that a base has already would be one with it, whatever the new class means by it."""

    def test_another_meaning_is_refused_with_the_owner(self):
        with pytest.raises(
            TypeError, match=r"Own.patience is an option of LightningMethod already \(end a phase after .*rename it"
        ):

            @dataclass
            class Own(Finetune):
                patience: int = 3  # of the user

    def test_another_default_is_refused(self):
        with pytest.raises(TypeError, match=r"Own.buffer_size is an option of BufferOptions already"):

            @dataclass
            class Own(Rehearsal):
                buffer_size: int = 3

    def test_of_a_setting_too(self):
        with pytest.raises(TypeError, match=r"Own.passes is an option of SupervisedSetting already"):

            @dataclass
            class Own(ClassIncrementalSetting):
                passes: int = 3  # of a needle

    def test_the_same_comment_says_that_the_default_is_to_change(self):
        @dataclass
        class Own(Rehearsal):
            lr: float = 0.2  # learning rate
            buffer_size: int = 3  # samples that the buffer holds
            patience: int = 0
            extent: int = 3

        @dataclass
        class Further(Own):
            extent: int = 4

        made = Further()
        assert (made.lr, made.buffer_size, made.patience, made.extent) == (0.2, 3, 0, 4)

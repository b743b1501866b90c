import itertools
from typing import ClassVar

import pytest

from redwood.core.errors import NotApplicableError
from redwood.methods import METHODS, get_method
from redwood.methods.baselines import Random
from redwood.settings import SETTINGS, get_setting
from redwood.settings.base import why_not_applicable
from redwood.settings.tree import (
    ClassIncrementalSetting,
    ContinualSetting,
    CumulativeSetting,
    DistributedClassIncrementalSetting,
    OnlineClassIncrementalSetting,
)
from tests.samples import numbered

SUPERVISED = [key for key in SETTINGS if not key.endswith("_rl")]


class ManyPasses(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"many_passes"})


class OneWorker(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"one_worker"})


class Impossible(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"a_miracle"})


def test_a_method_applies_to_its_target_and_all_below_and_nowhere_else():
    """`docs/methods.md`, which is generated, tells the target of each method."""
    for setting, cls in itertools.product(map(get_setting, SETTINGS), map(get_method, METHODS)):
        pinned = "many_passes" in cls.requires and setting.assumptions.passes.high == 1
        assert (why_not_applicable(setting, cls) is None) == (issubclass(setting, cls.target) and not pinned), cls


class TestRequirements:
    @pytest.mark.parametrize(
        ("method", "pinned_by"), [(ManyPasses, ("online", "osaka", "label_budget")), (OneWorker, ("distributed",))]
    )
    def test_nodes_that_pin_the_parameter_are_refused(self, method, pinned_by):
        for key in SUPERVISED:
            pinned = any(word in key for word in pinned_by)
            assert (why_not_applicable(get_setting(key), method) is None) == (not pinned), key

    def test_the_sentence_names_the_pin(self):
        assert why_not_applicable(OnlineClassIncrementalSetting, ManyPasses) == (
            "ManyPasses requires many passes, but OnlineClassIncrementalSetting pins passes=1."
        )
        assert "pins workers>=2" in (why_not_applicable(DistributedClassIncrementalSetting, OneWorker) or "")

    def test_unknown_requirements_are_refused(self):
        reason = why_not_applicable(ContinualSetting, Impossible)
        assert reason == "Impossible requires 'a_miracle'; known requirements: many_passes, one_worker."

    @pytest.mark.parametrize(
        ("method", "options", "sentence"),
        [
            (ManyPasses, {"passes": 1}, "ManyPasses requires many passes, but --passes is 1."),
            (OneWorker, {"workers": 2}, "OneWorker requires one worker, but --workers is 2."),
        ],
    )
    def test_values_that_pin_the_parameter_are_refused(self, method, options, sentence):
        with pytest.raises(NotApplicableError, match=sentence):
            ClassIncrementalSetting(dataset=numbered(), **options).apply(method(), quiet=True)

    @pytest.mark.parametrize("method", [ManyPasses, OneWorker])
    def test_values_that_leave_it_open_are_accepted(self, method):
        ContinualSetting(dataset=numbered(), passes=2, workers=1).check_applicable(method())


class TestApply:
    def test_a_method_is_refused_above_its_target_before_any_data_is_read(self):
        setting = ClassIncrementalSetting(dataset="no such data")
        with pytest.raises(NotApplicableError, match=r"Joint targets CumulativeSetting \(--setting cumulative\) and"):
            setting.apply(get_method("joint")(), quiet=True)
        assert get_method("joint").target is CumulativeSetting

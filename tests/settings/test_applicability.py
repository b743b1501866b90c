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

# Method: the nodes it applies to, written out so that a changed target does not go unnoticed.
RL = {key for key in SETTINGS if key.endswith("_rl")}
SUPERVISED = set(SETTINGS) - RL
BELOW_CLASS_INCREMENTAL = SUPERVISED - {"continual", "task_agnostic", "osaka"}
BELOW_TASK_INCREMENTAL = {key for key in SUPERVISED if "task_incremental" in key} | {"multi_task"}
ALL_SUPERVISED = ("finetune", "rehearsal", "async_rehearsal", "er_ace", "der", "der_pp", "agem", "mir", "gdumb")
APPLIES_TO = (
    {method: SUPERVISED for method in ALL_SUPERVISED}
    | {
        "random": set(SETTINGS),
        "stable_sgd": SUPERVISED,
        "widen": SUPERVISED,
        "background": SUPERVISED,
        "dtp": SUPERVISED,
        "uniform": {"acquisition"},
        "water_filling": {"acquisition"},
        "slice_tuner": {"acquisition"},
        "joint": {"cumulative", "cumulative_task_incremental"},
        "maml": {"osaka"},
        "anil": {"osaka"},
        "continual_maml": {"osaka"},
        "moving_window": SUPERVISED,
        "just_in_time": SUPERVISED,
        "generative_rehearsal": BELOW_CLASS_INCREMENTAL,
        "icarl": BELOW_CLASS_INCREMENTAL,
        "hybrid1": BELOW_CLASS_INCREMENTAL,
        "fixed": BELOW_CLASS_INCREMENTAL,
        "two_side": BELOW_CLASS_INCREMENTAL,
        "lwf": BELOW_CLASS_INCREMENTAL,
        "lwf_mc": BELOW_CLASS_INCREMENTAL,
        "bic": BELOW_CLASS_INCREMENTAL,
        "wa": BELOW_CLASS_INCREMENTAL,
        "ewc": BELOW_CLASS_INCREMENTAL,
        "si": BELOW_CLASS_INCREMENTAL,
        "mas": BELOW_CLASS_INCREMENTAL,
        "rwalk": BELOW_CLASS_INCREMENTAL,
        "packnet": BELOW_TASK_INCREMENTAL,
        "hat": BELOW_TASK_INCREMENTAL,
        "pnn": BELOW_TASK_INCREMENTAL,
        "c_ada": BELOW_CLASS_INCREMENTAL,
        "hard_moe": BELOW_CLASS_INCREMENTAL,
        "fedavg": {"federated_class_incremental"},
        "fedssi": {"federated_class_incremental"},
        "ncm": SUPERVISED,
        "slda": SUPERVISED,
        "ranpac": SUPERVISED,
    }
    | {"reuse_outputs": {key for key in BELOW_CLASS_INCREMENTAL if "online" not in key and key != "label_budget"}}
    # They look at a task before they learn it, so each sample has to be presented several times.
    | dict.fromkeys(
        ("independent", "finetune_from", "mntdp", "composable"), BELOW_TASK_INCREMENTAL - {"online_task_incremental"}
    )
    | dict.fromkeys(("ppo", "a2c", "dqn", "sac", "td3"), RL)
)


class ManyPasses(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"many_passes"})


class OneWorker(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"one_worker"})


class Impossible(Random):
    target = ContinualSetting
    requires: ClassVar[frozenset[str]] = frozenset({"a_miracle"})


@pytest.mark.parametrize("method", METHODS)
class TestTargets:
    def test_a_method_applies_to_its_target_and_all_below_and_nowhere_else(self, method):
        cls = get_method(method)
        for key in SETTINGS:
            setting = get_setting(key)
            pinned = "many_passes" in cls.requires and setting.assumptions.passes.high == 1
            assert (why_not_applicable(setting, cls) is None) == (issubclass(setting, cls.target) and not pinned), key

    def test_these_are_the_nodes(self, method):
        applicable = {key for key in SETTINGS if why_not_applicable(get_setting(key), get_method(method)) is None}
        assert applicable == APPLIES_TO[method]


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
        with pytest.raises(NotApplicableError, match="Joint targets CumulativeSetting and the settings below it"):
            setting.apply(get_method("joint")(), quiet=True)
        assert get_method("joint").target is CumulativeSetting

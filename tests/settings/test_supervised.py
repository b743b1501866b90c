import pytest

from redwood.core.errors import InvalidOptionError
from redwood.settings import SETTINGS, Abrupt, Gradual, get_setting
from redwood.settings.tree import (
    ClassIncrementalSetting,
    ContinualSetting,
    CumulativeSetting,
    DistributedClassIncrementalSetting,
    OnlineClassIncrementalSetting,
    TraditionalSetting,
)

SUPERVISED = [key for key in SETTINGS if get_setting(key).assumptions.labels]


class TestDefaults:
    @pytest.mark.parametrize("key", SUPERVISED)
    def test_they_follow_from_the_node(self, key):
        setting = get_setting(key)()
        assert setting.passes == (1 if "online" in key or key in ("osaka", "label_budget") else 20)
        assert setting.workers == (2 if "distributed" in key else 1)
        assert isinstance(setting.transition, Gradual if key == "continual" else Abrupt)

    def test_they_fit_the_node(self):
        for key in SETTINGS:
            setting = get_setting(key)()
            assert setting.passes in setting.assumptions.passes
            assert setting.workers in setting.assumptions.workers


class TestContradictions:
    @pytest.mark.parametrize(
        ("setting", "options", "sentence"),
        [
            (
                OnlineClassIncrementalSetting,
                {"passes": 3},
                "--passes 3 contradicts OnlineClassIncrementalSetting, which needs passes=1",
            ),
            (
                DistributedClassIncrementalSetting,
                {"workers": 1},
                "--workers 1 contradicts DistributedClassIncrementalSetting, which needs workers>=2",
            ),
            (
                ClassIncrementalSetting,
                {"transition": "gradual"},
                "--transition gradual does not go with ClassIncrementalSetting, whose contexts are discrete",
            ),
            (
                TraditionalSetting,
                {"transition": "blurry"},
                "--transition blurry does not go with .*, which pools the tasks",
            ),
            (
                CumulativeSetting,
                {"transition": "blurry"},
                "--transition blurry does not go with .*, which pools the tasks",
            ),
        ],
    )
    def test_values_that_contradict_the_node(self, setting, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            setting(**options)

    def test_what_a_node_needs_may_be_said(self):
        assert OnlineClassIncrementalSetting(passes=1).passes == 1
        assert DistributedClassIncrementalSetting(workers=3).workers == 3


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seed", -1, "--seed -1 has to be at least 0"),
        ("passes", 0, "--passes 0 contradicts"),
        ("workers", 0, "--workers 0 contradicts"),
        ("batch_size", 0, "--batch_size 0 has to be at least 1"),
        ("nb_tasks", 0, "--nb_tasks 0 has to be at least 1"),
        ("dataset", {"photos": {"image_size": -1}}, "--image_size -1 has to be at least 0"),
        ("stream", "backwards", "--stream backwards is unknown; choose one of auto, class_split"),
        ("transition", "sudden", "--transition sudden is unknown; choose one of abrupt"),
        ("transition", {"blurry": {"blur": 1.5}}, "--blur 1.5 has to be at least 0 and at most 1"),
        ("transition", {"blurry": {"blur": float("nan")}}, "--blur nan has to be"),
        ("transition", {"gradual": {"drift_width": -0.1}}, "--drift_width -0.1 has to be at least 0"),
        ("transition", {"gradual": {"blur": 0.1}}, "--transition gradual has no option blur; leave it out"),
        ("validation", 0.95, "at least 0 and at most 0.9"),
    ],
)
def test_values_out_of_range(name, value, sentence):
    with pytest.raises(InvalidOptionError, match=sentence):
        ContinualSetting(**{name: value})


def test_names_of_the_options():
    names = ContinualSetting.option_names()
    assert {"seed", "workers", "dataset", "nb_tasks", "stream", "passes"} <= set(names)
    assert len(names) == len(set(names))

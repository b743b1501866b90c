"""Test data stay out of reach; that each node hides what it should is tested with the node."""

import copy
import dataclasses
import pickle

import pytest
import torch

from redwood.branches.acquisition.setting import AcquisitionSetting
from redwood.core.errors import HiddenError, InvalidOptionError
from redwood.core.parts import Part
from redwood.methods.baselines import Random
from redwood.settings import SETTINGS, ClassSplit, get_setting
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.entries import Entries
from redwood.settings.rl.tree import IncrementalRLSetting, TaskAgnosticRLSetting
from redwood.settings.streams import loader
from redwood.settings.streams.batches import BatchSequence, Source
from redwood.settings.streams.held_out import HeldOut
from redwood.settings.tree import ClassIncrementalSetting, ContinualSetting, TaskIncrementalSetting
from tests.leak_check import finds_test_data, reachable
from tests.methods.helpers import one_sentence
from tests.recorder import record
from tests.samples import N_TRAIN, numbered
from tests.settings.rl.clock import N_TASKS, clock
from tests.small_runs import small_setting

DATA = numbered()
SUPERVISED = [key for key in SETTINGS if get_setting(key).assumptions.labels]


def sliced():
    """The same data set, cut from one array of samples and one of labels, as users do."""
    x, y = torch.cat([DATA.x, DATA.x_test]), torch.cat([DATA.y, DATA.y_test])
    return Dataset.from_arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], name="numbered")


class TestPhase:
    """Whatever hangs on a phase, nothing leads to samples that are still to come, or to ids that are hidden."""

    @pytest.mark.parametrize("key", SUPERVISED)
    @pytest.mark.parametrize("validation", [0, 0.2])
    def test_what_is_still_to_come(self, key, validation):
        phase = next(small_setting(key, dataset=DATA, validation=validation).phases())
        started = iter(phase.train)
        given = [phase, started, next(started), *vars(phase).values(), *vars(phase.train).values()]
        assert [
            value for value in reachable(given) if isinstance(value, BatchSequence | Source | Entries | HeldOut)
        ] == []
        batch = given[2]
        for value in reachable(given):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                assert value.shape[0] <= len(batch.y), "samples other than those of the batch"
            if isinstance(value, torch.Tensor) and not value.is_floating_point():
                assert len(value) <= len(batch.y) or not value.any(), "labels other than those of the batch"

    def test_the_walk_would_find_it(self):
        phase = next(ContinualSetting(dataset=DATA, nb_tasks=3).phases())
        assert any(value is DATA.x for value in reachable(dict(loader._SEQUENCES)[phase.train]))

    def test_samples_cut_from_one_array(self):
        phase = next(ClassIncrementalSetting(dataset=sliced(), nb_tasks=3).phases())
        assert finds_test_data(DATA, phase, dict(loader._SEQUENCES)[phase.train]) == []


class TestView:
    def test_it_has_no_data(self):
        setting = ClassIncrementalSetting(dataset=DATA, nb_tasks=3)
        list(setting.phases())
        assert not [value for value in reachable(setting.for_method()) if value is DATA or value is DATA.x]

    def test_the_setting_itself_keeps_what_the_view_hides(self):
        setting = ContinualSetting(dataset=DATA, nb_tasks=3)
        assert (setting.for_method().nb_tasks, setting.nb_tasks) == (None, 3)
        assert setting.dataset.source is DATA

    def test_changing_the_view_does_not_change_the_setting(self):
        setting = AcquisitionSetting(dataset=DATA, initial=[2], budget=3.0)
        view, bounds = setting.for_method(), setting.observation_space.low.copy()
        view.initial.append(9)
        view.observation_space.low[:] = 7
        vars(view)["nb_tasks"] = 8
        assert (setting.initial, setting.nb_tasks) == ([2], None)
        assert (setting.observation_space.low == bounds).all()
        assert setting.for_method().initial == [2]

    @pytest.mark.parametrize("key", SUPERVISED)
    @pytest.mark.parametrize("dataset", [DATA, "digits"])
    def test_it_opens_no_stream(self, key, dataset):
        setting = small_setting(key, dataset=dataset)
        cls, view = type(setting), setting.for_method()
        ways = (
            lambda: view.open_stream(),
            lambda: view.phases(),
            lambda: view._stream,
            lambda: view.apply(Random()),
            lambda: cls.open_stream(view),
            lambda: copy.copy(view).open_stream(),
        )
        for way in ways:
            with pytest.raises(HiddenError, match="is not for methods") as caught:
                way()
            assert one_sentence(caught.value)

    def test_which_classes_come_next_is_hidden(self):
        stream = ClassSplit(class_order=list(range(6)), increment=[2], imbalance="long_tail")
        view = TaskIncrementalSetting(dataset=DATA, stream=stream).for_method()
        assert view.stream == "class_split"
        assert not [value for value in reachable(view) if isinstance(value, Part) or value is stream.class_order]

    @pytest.mark.parametrize("key", SUPERVISED)
    @pytest.mark.parametrize(
        "given", [{}, {"nb_tasks": 3}, {"stream": ClassSplit(increment=[1, 2, 3])}, {"stream": "contexts"}]
    )
    @pytest.mark.few(30)
    def test_the_number_of_tasks_where_boundaries_are_announced(self, key, given):
        setting = small_setting(
            key, dataset=numbered(contexts=4), **{"stream": "class_split", "nb_tasks": None} | given
        )
        if key == "acquisition":  # its tasks are the six classes, whatever is given
            assert setting.for_method().nb_tasks == 6
            return
        expected = 4 if given == {"stream": "contexts"} else 3 if given else 5
        assert setting.for_method().nb_tasks == (expected if setting.assumptions.boundaries else None)


class TestViewOfEnvironments:
    @pytest.mark.parametrize("cls", [IncrementalRLSetting, TaskAgnosticRLSetting])
    def test_it_opens_no_stream_and_knows_the_number_of_tasks(self, cls):
        setting = clock(cls)
        view = setting.for_method()
        assert view.nb_tasks == (N_TASKS if setting.assumptions.boundaries else None)
        for way in (view.open_stream, view.phases, lambda: view._made, lambda: view.apply(Random())):
            with pytest.raises(HiddenError, match="is not for methods"):
                way()


class TestOptions:
    @pytest.mark.parametrize("view", [False, True])
    def test_they_are_fixed_once_the_setting_is_made(self, view):
        setting = ClassIncrementalSetting(dataset=DATA, nb_tasks=3)
        with pytest.raises(InvalidOptionError, match=r"passes of ClassIncrementalSetting is fixed") as caught:
            (setting.for_method() if view else setting).passes = 3
        assert one_sentence(caught.value)
        assert setting.passes == 20

    def test_another_setting_can_be_made_of_one(self):
        setting = dataclasses.replace(ClassIncrementalSetting(dataset=DATA, nb_tasks=3), passes=3)
        assert (setting.passes, setting.nb_tasks, setting.dataset.source is DATA) == (3, 3, True)

    def test_a_setting_of_ones_own_can_fill_in_its_options(self):
        @dataclasses.dataclass
        class Own(ClassIncrementalSetting):
            extra: int = 1

            def __post_init__(self):
                super().__post_init__()
                self.extra += 1

        setting = pickle.loads(pickle.dumps(copy.deepcopy(ClassIncrementalSetting())))
        for made, name in ((Own(), "extra"), (setting, "seed")):
            with pytest.raises(InvalidOptionError, match="is fixed"):
                setattr(made, name, 3)
        assert Own().extra == 2


def test_changing_test_samples_and_ids_does_not_change_the_scores():
    setting = TaskIncrementalSetting(dataset=numbered(), nb_tasks=3)
    before, log = record(setting)
    for x, ids in log.tested:
        x.zero_()
        ids.fill_(2)
    after, again = record(setting)
    assert after.accuracy_matrix == before.accuracy_matrix
    assert not torch.equal(again.tested[0][0], log.tested[0][0])

"""Test data stay out of reach; that each node hides what it should is tested with the node."""

import pytest
import torch

from redwood.settings.continual import ContinualSetting
from redwood.settings.data.dataset import Dataset
from redwood.settings.incremental import ClassIncrementalSetting, TaskIncrementalSetting
from tests.reachable import finds_test_data, reachable
from tests.recorder import record
from tests.samples import N_TRAIN, numbered

DATA = numbered()


def sliced():
    """The same data set, cut from one array of samples and one of labels, as users do."""
    x, y = torch.cat([DATA.x, DATA.x_test]), torch.cat([DATA.y, DATA.y_test])
    return Dataset.from_arrays(x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], name="numbered")


class TestPhase:
    @pytest.mark.parametrize("setting", [ContinualSetting, ClassIncrementalSetting])
    def test_the_walk_gets_as_far_as_the_training_data(self, setting):
        phase = next(setting(dataset=DATA, nb_tasks=3).phases())
        found = [value for value in reachable(phase) if isinstance(value, torch.Tensor)]
        assert any(value is DATA.x for value in found)

    def test_samples_cut_from_one_array(self):
        phase = next(ClassIncrementalSetting(dataset=sliced(), nb_tasks=3).phases())
        assert finds_test_data(DATA, phase) == []


class TestView:
    def test_it_has_no_data(self):
        setting = ClassIncrementalSetting(dataset=DATA, nb_tasks=3)
        list(setting.phases())
        assert not [value for value in reachable(setting.for_method()) if value is DATA or value is DATA.x]

    def test_the_setting_itself_keeps_what_the_view_hides(self):
        setting = ContinualSetting(dataset=DATA, nb_tasks=3)
        assert (setting.for_method().nb_tasks, setting.nb_tasks) == (None, 3)
        assert setting.dataset is DATA

    def test_changing_the_view_does_not_change_the_setting(self):
        setting = TaskIncrementalSetting(dataset=DATA, nb_tasks=3)
        setting.for_method().nb_tasks = 7
        assert setting.nb_tasks == 3


def test_changing_test_samples_and_ids_does_not_change_the_scores():
    setting = TaskIncrementalSetting(dataset=numbered(), nb_tasks=3)
    before, log = record(setting)
    for x, ids in log.tested:
        x.zero_()
        ids.fill_(2)
    after, again = record(setting)
    assert after.accuracy_matrix == before.accuracy_matrix
    assert not torch.equal(again.tested[0][0], log.tested[0][0])

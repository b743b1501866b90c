"""What PackNet, HAT and PNN have in common: earlier tasks are answered, bit for bit, as they were."""

import pytest
import torch

from redwood.methods.architecture.hat import HAT
from redwood.methods.architecture.packnet import PackNet
from redwood.methods.architecture.pnn import PNN
from redwood.methods.baselines import Finetune
from redwood.methods.training.optimizers import Adam, AdamW, Sgd
from redwood.settings import Blurry
from redwood.settings.data.dataset import Dataset
from tests.methods.helpers import configured
from tests.methods.rows import IDS, N_TASKS, answers, forgets, normalised_row, plain, watched
from tests.small_runs import small_setting

METHODS = (PackNet, HAT, PNN)
OPTIMIZERS = {
    "momentum": {"optimizer": Sgd(momentum=0.9, weight_decay=0.1), "optimizer_state": "keep"},
    "adam": {"optimizer": Adam(weight_decay=0.1), "lr": 0.01, "optimizer_state": "keep", "model": "simple_cnn"},
    "normalisation": {"optimizer": AdamW(weight_decay=0.1), "lr": 0.01},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cls", METHODS)
class TestForgetting:
    @pytest.mark.few(2)
    def test_there_is_none(self, cls, optimizer):
        options = OPTIMIZERS[optimizer]
        if optimizer == "normalisation":
            options = options | {"model": normalised_row()}
        method = watched(cls, setting={"passes": 1}, **options)
        assert not forgets(method)
        for task in range(1, N_TASKS):
            before, after = (method.seen[phase][task == IDS] for phase in (task - 1, task))
            assert not torch.equal(before, after), "the task was not trained at all"


def test_fine_tuning_does_forget():
    assert forgets(watched(Finetune))


def test_nor_is_there_any_where_samples_of_other_tasks_turn_up():
    method = watched(PackNet, setting={"transition": Blurry(blur=0.3)})
    assert not forgets(method)
    assert method.phase_of == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("cls", METHODS)
class TestIds:
    def test_of_tasks_that_were_never_met_get_the_latest_network(self, cls):
        method = configured(cls(), "task_incremental")
        assert bool(torch.isfinite(answers(method)).all())
        method = plain(cls)
        x = small_setting("task_incremental").dataset.source.x_test
        unknown = method.predict(x, torch.full((len(x),), 7))
        latest = method.predict(x, torch.full((len(x),), N_TASKS - 1))
        mine = latest.isfinite()
        assert bool(unknown.isfinite().all()) and not bool(mine.all())
        torch.testing.assert_close(unknown[mine], latest[mine])

    def test_that_are_mixed_get_what_they_get_alone(self, cls):
        method = plain(cls)
        x, mixed = small_setting("task_incremental").dataset.source.x_test, answers(method)
        for task in range(N_TASKS):
            alone = method.predict(x[task == IDS], IDS[task == IDS])
            assert torch.equal(mixed[task == IDS], alone)

    def test_of_a_phase_of_several_tasks_share_a_network(self, cls):
        method = plain(cls, "multi_task")
        assert set(method.phase_of.values()) == {0} and len(method.own_values) == 1


def test_no_samples():
    method = plain(PackNet)
    assert method.predict(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)).shape == (0, 10)


@pytest.mark.parametrize("cls", [HAT, PNN])
class TestNetworks:
    def test_for_colour_images_it_is_convolutional(self, cls):
        x, y = torch.zeros(60, 3, 16, 16, dtype=torch.uint8), torch.arange(60) % 6
        method = configured(cls(), "task_incremental", dataset=Dataset("colours", x, y, x, y))
        assert next(tuple(p.shape) for p in method.network.parameters() if p.dim() == 4) == (32, 3, 3, 3)


def test_copies_of_each_phase_are_counted_among_the_costs():
    method = plain(PackNet)
    values = sum(value.nbytes for values in method.own_values for value in values.values())
    owners = 2 * (64 * 256 + 256 * 256)
    assert values == N_TASKS * 4 * (256 + 256 + 256 * 10 + 10)
    assert method.costs()["buffer_bytes"] == values + owners

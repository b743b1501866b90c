import pytest
import torch
from torch.nn import functional as F

from redwood.methods import compose
from redwood.methods.baselines import Finetune
from redwood.methods.distillation.bic import BiC
from redwood.methods.distillation.losses import kd
from redwood.methods.distillation.two_side import TwoSide, new_classes_compete
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import Sgd
from tests.methods.helpers import batch_of, configured, move, step_of, weights_of
from tests.small_runs import run_here, small_setting

CLASSES = torch.arange(10)


class TestTwoSide:
    def test_in_the_first_task_labels_alone_count(self):
        method, batch = configured(TwoSide()), batch_of(0, 40)
        torch.testing.assert_close(method.loss(step_of(batch)), F.cross_entropy(method.network(batch.x), batch.y))

    def test_later_the_teacher_counts_by_its_share_of_the_classes(self):
        method = configured(TwoSide())
        for known, new in ((0, 4), (4, 7), (7, 10)):
            method.teacher.current = (known <= CLASSES) & (new > CLASSES)
            if known:
                method.groups = method.taught_groups()
                batch = batch_of(0, 60, tuple(range(known, new)))
                outputs, taught = method.network(batch.x), method.teacher(batch.x)
                distance = kd(outputs[:, :known], taught[:, :known]).mean()
                labels = F.cross_entropy(outputs, batch.y)
                assert distance > 0
                expected = (new - known) / new * labels + known / new * distance
                torch.testing.assert_close(method.loss(step_of(batch)), expected)
            method.on_task_end(None)
            move(method)

    @pytest.mark.parametrize(
        ("key", "competing"),
        [
            ("class_incremental", True),
            ("online_class_incremental", True),
            ("cumulative", True),
            ("task_incremental", False),
            ("domain_incremental", False),
            ("traditional", False),
        ],
    )
    def test_new_classes_compete_with_old_ones_where_a_test_tells_them_not_apart(self, key, competing):
        assert new_classes_compete(small_setting(key).assumptions) is competing


def test_with_rehearsal_it_is_bic_where_nothing_is_corrected():
    """Where ids are given at test, `bic` keeps no sample aside."""
    both, bic = compose(TwoSide, Rehearsal)(buffer_size=20, optimizer=Sgd(momentum=0.9)), BiC(buffer_size=20)
    for method in (both, bic):
        run_here(small_setting("task_incremental"), method)
    assert all(map(torch.equal, both.network.parameters(), bic.network.parameters()))


def test_it_changes_what_is_learned_from_the_second_task_on():
    runs = {nb_tasks: (TwoSide(), Finetune()) for nb_tasks in (1, 2)}
    for nb_tasks, methods in runs.items():
        for method in methods:
            run_here(small_setting("online_class_incremental", nb_tasks=nb_tasks), method)
    first, second = ([*map(torch.equal, *map(weights_of, methods))] for methods in runs.values())
    assert all(first)
    assert not any(second)

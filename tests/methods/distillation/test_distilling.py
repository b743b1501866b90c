import pytest
import torch
from torch.nn import functional as F

from redwood.methods.distillation.distilling import TwoSide
from redwood.methods.distillation.losses import kd
from tests.methods.helpers import batch_of, configured, move

CLASSES = torch.arange(10)


class TestTwoSide:
    def test_in_the_first_task_labels_alone_count(self):
        method, batch = configured(TwoSide()), batch_of(0, 40)
        torch.testing.assert_close(method.loss(batch), F.cross_entropy(method.network(batch.x), batch.y))

    def test_later_the_teacher_counts_by_its_share_of_the_classes(self):
        method = configured(TwoSide())
        for known, new in ((0, 4), (4, 7), (7, 10)):
            method.current = (known <= CLASSES) & (new > CLASSES)
            if known:
                method.groups = method.taught_groups()
                batch = batch_of(0, 60, tuple(range(known, new)))
                outputs, taught = method.network(batch.x), method.teacher(batch.x)
                distance = kd(outputs[:, :known], taught[:, :known]).mean()
                labels = F.cross_entropy(outputs, batch.y)
                assert distance > 0
                expected = (new - known) / new * labels + known / new * distance
                torch.testing.assert_close(method.loss(batch), expected)
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
        assert configured(TwoSide(), key).competing is competing

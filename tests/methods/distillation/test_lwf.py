from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.distillation.losses import kd
from redwood.methods.distillation.lwf import LwF
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import batch_of, configured, move, step_of, trained, weights_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

FIRST, SECOND = (0, 1, 2, 3), (4, 5, 6)


class Given:
    """Stands in for a phase that is not trained."""

    def __init__(self, task_classes):
        self.task_classes, self.task_id = task_classes, next(iter(task_classes))


def second_task(method, key="class_incremental"):
    """A method whose first task is over, and whose second one is about to be trained."""
    configured(method, key)
    method.heads.learn({0: FIRST})
    method.teacher.begin(Given({0: FIRST}), past_accessible=False)
    method.on_task_end(0)
    move(method)
    method.groups = method.taught_groups()
    method.heads.learn({1: SECOND})
    method.teacher.begin(Given({1: SECOND}), past_accessible=False)
    return method


class TestLoss:
    def test_there_is_nothing_to_keep_in_the_first_task(self):
        held, free = LwF(), Finetune()
        for method in (held, free):
            run_here(small_setting("traditional"), method)
        assert all(map(torch.equal, held.network.parameters(), free.network.parameters()))

    def test_unchanged_outputs_cost_nothing(self):
        method, batch = second_task(LwF()), batch_of(0, 40)
        method.network.load_state_dict(method.teacher.copy.state_dict())
        assert method.loss(step_of(batch)).item() == method.losses(step_of(batch)).mean().item()

    def test_only_outputs_that_the_teacher_was_taught_count(self):
        method, batch = second_task(LwF(lwf_alpha=3.0, temperature=4.0)), batch_of(0, 40, SECOND)
        outputs, taught = method.network(batch.x), method.teacher(batch.x)
        distance = kd(outputs[:, :4], taught[:, :4], 4.0).mean()
        assert distance > 0
        torch.testing.assert_close(method.loss(step_of(batch)), F.cross_entropy(outputs, batch.y) + 3 * distance)
        with torch.no_grad():
            method.teacher.copy.head.bias[4:] += 5
            method.network.head.bias[4:] += 1
        torch.testing.assert_close(
            method.loss(step_of(batch)), F.cross_entropy(method.network(batch.x), batch.y) + 3 * distance
        )

    def test_given_the_task_each_old_head_has_a_softmax_of_its_own(self):
        method = second_task(LwF(), "task_incremental")
        method.on_task_end(1)
        move(method)
        method.groups = method.taught_groups()
        method.heads.learn({2: (7, 8, 9)})
        batch = batch_of(0, 60, (7, 8, 9))
        batch = batch._replace(task_id=torch.full_like(batch.y, 2))
        outputs, taught = method.network(batch.x), method.teacher(batch.x)
        distance = kd(outputs[:, :4], taught[:, :4]) + kd(outputs[:, 4:7], taught[:, 4:7])
        expected = F.cross_entropy(outputs[:, 7:], batch.y - 7) + distance.mean()
        torch.testing.assert_close(method.loss(step_of(batch)), expected)

    def test_shared_outputs_are_all_old_ones(self):
        method = LwF()
        run_here(small_setting("domain_incremental"), method)
        (group,) = method.groups
        assert group.tolist() == method.teacher.known.nonzero()[:, 0].tolist()
        assert bool(method.teacher.known[method.teacher.current].all())

    def test_the_network_answers_once_for_both_parts(self):
        method, batch, calls = second_task(LwF()), batch_of(0, 40), []
        method.network.register_forward_pre_hook(lambda network, args: calls.append(len(args[0])))
        method.loss(step_of(batch))
        assert calls == [40]


class TestRuns:
    def test_old_outputs_move_less(self):
        x = few_digits().x_test

        @dataclass
        class Watched(LwF):
            def on_task_end(self, task_id):
                if self.teacher.copy is not None:
                    known = self.teacher.known
                    self.moved.append(kd(self.predict(x, None)[:, known], self.teacher(x)[:, known]).mean().item())
                super().on_task_end(task_id)

        moved = []
        for alpha in (0.0, 1.0):
            method = Watched(lwf_alpha=alpha)
            method.moved = []
            run_here(small_setting("class_incremental", passes=6), method)
            moved.append(method.moved)
        assert all(held < 0.5 * free for free, held in zip(*moved, strict=True))

    def test_the_teachers_answers_are_counted_among_the_flops(self):
        costs = [run_here(small_setting("class_incremental"), method).cost for method in (Finetune(), LwF())]
        assert 1.15 < costs[1].training_flops / costs[0].training_flops < 1.35
        assert costs[1].buffer_bytes == 4 * costs[0].parameters

    def test_joined_with_rehearsal_it_distils_on_replayed_samples(self):
        @dataclass
        class Both(LwF, Rehearsal):
            """Rehearsal, and outputs that are held back."""

            def distance(self, step):
                self.came_in = step.n_incoming
                return super().distance(step)

            def distances(self, outputs, taught):
                self.sizes.append((self.came_in, len(taught)))
                return super().distances(outputs, taught)

        method = Both(buffer_size=20)
        method.sizes = []
        assert not all(map(torch.equal, trained(method), trained(Rehearsal(buffer_size=20))))
        assert all(n == 2 * incoming for incoming, n in method.sizes)
        assert len(method.sizes) > 10
        free = Both(buffer_size=20, lwf_alpha=0.0)
        free.sizes = []
        assert all(map(torch.equal, trained(free), trained(Rehearsal(buffer_size=20))))


def weights_and_outputs():
    method = LwF()
    run_here(small_setting("class_incremental", workers=2), method)
    return weights_of(method), method.teacher(few_digits().x_test)


def test_two_workers_have_one_teacher(two_workers):
    mine, others = two_workers.run(weights_and_outputs)
    assert all(map(torch.equal, mine[0], others[0]))
    assert torch.equal(mine[1], others[1])


@pytest.mark.parametrize("options", [{"lwf_alpha": -1}, {"temperature": 0}, {"divergence": "l2"}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match=f"--{next(iter(options))}"):
        LwF(**options)

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.distillation.bic import BiC, HeldOut, fit_bias
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.optimizers import Sgd
from tests.methods.helpers import augmented, batch_of, configured, refused, weights_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

NEW = torch.arange(10) >= 6


def planted(n, alpha, beta):
    """Scores of which those of new classes were spoilt, so that alpha and beta repair them; labels by the true ones."""
    generator = torch.Generator().manual_seed(0)
    true = 3 * torch.randn(n, 10, generator=generator, dtype=torch.float64)
    y = torch.multinomial(true.softmax(1), 1, generator=generator)[:, 0]
    return torch.where(NEW, (true - beta) / alpha, true), y


class TestFit:
    @pytest.mark.parametrize(("alpha", "beta"), [(0.5, -2.0), (1.0, 0.0), (1.8, 0.7)])
    def test_a_planted_scale_and_shift_are_found(self, alpha, beta):
        assert fit_bias(*planted(20_000, alpha, beta), NEW) == pytest.approx((alpha, beta), abs=0.12)

    def test_classes_count_alike_however_many_samples_there_are(self):
        scores, y = planted(3000, 0.5, -2.0)
        many = torch.cat([torch.arange(3000), (y == 0).nonzero()[:, 0].repeat(50)])
        alone, biased = fit_bias(scores, y, NEW), fit_bias(scores[many], y[many], NEW)
        assert biased == pytest.approx(alone, abs=0.05)

    def test_samples_that_can_be_told_apart_without_a_mistake_have_a_finite_answer(self):
        scores = 5 * torch.eye(10)
        alpha, beta = fit_bias(scores, torch.arange(10), NEW)
        assert 1 < alpha < 3
        assert abs(beta) < 3


@dataclass
class Watched(BiC):
    """Notes what is trained on and kept aside, and how each task's correction changes the outputs."""

    def configure(self, setting):
        super().configure(setting)
        self.trained_on, self.changes, self.aside_after = [], [], []

    def augment(self, step):
        super().augment(step)
        if step.weights is not None:
            rows = step.weights > 0
            assert len(rows) == len(step.batch.y)
            assert step.weights.sum().item() == pytest.approx(len(rows)) or not rows.any()
            self.trained_on.append(step.batch.x[rows])

    def _correct(self, new):
        x = few_digits().x_test
        before = self.predict(x, None)
        super()._correct(new)
        self.changes.append((new, before, self.predict(x, None)))

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.aside_after.append(self.held_out.class_counts())


@pytest.fixture(scope="module")
def watched():
    method = Watched(buffer_size=40, bias_samples=20)
    run_here(small_setting("class_incremental", passes=4), method)
    return method


def as_set(x):
    return {tuple(sample.flatten().tolist()) for sample in x}


class TestRun:
    def test_samples_kept_aside_are_never_trained_on_or_replayed(self, watched):
        aside = as_set(watched.held_out.all()["x"])
        trained_on = as_set(torch.cat(watched.trained_on))
        assert len(aside) > 5
        assert len(trained_on) > 120
        assert not aside & trained_on
        assert not aside & as_set(watched.buffer.all()["x"])

    def test_they_are_of_all_classes_so_far(self, watched):
        assert len(watched.aside_after) == 3
        assert set(watched.aside_after[0]) < set(watched.aside_after[1]) < set(watched.aside_after[2])

    def test_old_outputs_are_left_alone_and_new_ones_scaled_and_shifted(self, watched):
        assert len(watched.changes) == 2
        for new, before, after in watched.changes:
            assert torch.equal(after[:, ~new], before[:, ~new])
            design = torch.stack([before[:, new].flatten(), torch.ones(int(new.sum()) * len(before))], 1)
            found = torch.linalg.lstsq(design, after[:, new].flatten()[:, None]).solution
            torch.testing.assert_close((design @ found).flatten(), after[:, new].flatten(), rtol=1e-3, atol=1e-3)
            assert not torch.allclose(after[:, new], before[:, new], atol=0.01)

    def test_the_teacher_has_the_corrected_outputs(self, watched):
        x = few_digits().x_test
        assert torch.equal(watched.teacher(x), watched.predict(x, None))

    def test_both_buffers_and_the_teacher_count(self, watched):
        costs = watched.costs()
        assert costs["buffer_bytes"] == 80 * 20 + watched.held_out.nbytes + 4 * costs["parameters"]

    @pytest.mark.parametrize("key", ["traditional", "multi_task", "online_traditional"])
    def test_without_old_classes_it_is_rehearsal(self, key):
        methods = BiC(buffer_size=20), Rehearsal(buffer_size=20, optimizer=Sgd(momentum=0.9))
        for method in methods:
            run_here(small_setting(key), method)
        assert all(map(torch.equal, *(method.network.parameters() for method in methods)))
        assert len(methods[0].held_out) == 0

    def test_a_batch_that_is_kept_aside_as_a_whole_teaches_nothing(self):
        method = configured(Watched(buffer_size=40))
        batch = batch_of(0, 100)
        held_out = method._is_held_out(batch.x)
        batch = batch._replace(x=batch.x[held_out], y=batch.y[held_out], task_id=batch.task_id[held_out])
        step = augmented(method, batch)
        assert float(method.loss(step).detach()) == 0
        method.after_loss(step)
        assert len(method.buffer) == 0
        assert len(method.held_out) == len(batch.y) > 3

    def test_the_loss_is_the_mean_over_the_samples_that_count(self):
        method, batch = configured(BiC(buffer_size=40)), batch_of(0, 100)
        counted = ~method._is_held_out(batch.x)
        expected = nn.functional.cross_entropy(method.network(batch.x[counted]), batch.y[counted])
        torch.testing.assert_close(method.loss(augmented(method, batch)), expected)


def corrected():
    method = Watched(buffer_size=40)
    run_here(small_setting("class_incremental", workers=2), method)
    aside = as_set(method.held_out.all()["x"])
    return weights_of(method), method.held_out.capacity, aside, len(method.changes)


def test_two_workers_fit_one_correction_to_the_samples_of_both(two_workers):
    mine, others = two_workers.run(corrected)
    assert all(map(torch.equal, mine[0], others[0]))
    assert mine[1] == others[1] == 10
    assert mine[2] and others[2] and not mine[2] & others[2]
    assert mine[3] == others[3] == 2


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match="--bias_samples 0 has to be at least 1"):
        BiC(bias_samples=0)


N = 4000


def samples(dtype):
    generator = torch.Generator().manual_seed(0)
    if dtype.is_floating_point:
        return torch.randint(0, 17, (N, 1, 8, 8), generator=generator).to(dtype) / 16
    return torch.randint(0, 17, (N, 1, 8, 8), generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64])
class TestShare:
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
    def test_it_is_about_what_was_asked_for(self, dtype, share):
        held_out = HeldOut(share, seed=0)(samples(dtype))
        assert held_out.dtype == torch.bool
        assert held_out.float().mean().item() == pytest.approx(share, abs=5 * (share * (1 - share) / N) ** 0.5)

    def test_a_sample_is_judged_alike_wherever_it_comes(self, dtype):
        x, held_out = samples(dtype), HeldOut(0.3, seed=0)
        order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
        expected = held_out(x)
        assert torch.equal(HeldOut(0.3, seed=0)(x[order]), expected[order])
        assert torch.equal(torch.cat([held_out(part) for part in x.split(7)]), expected)


def test_samples_that_differ_in_one_number_are_judged_apart():
    x = torch.zeros(256, 64, dtype=torch.uint8)
    x[:, 3] = torch.arange(256)
    assert 0.3 < HeldOut(0.5, seed=0)(x).float().mean() < 0.7


def test_other_seeds_hold_out_others():
    x = samples(torch.uint8)
    first, second = (HeldOut(0.5, seed=seed)(x) for seed in (0, 1))
    assert (first != second).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_large_samples_are_not_looked_at_in_full():
    x = torch.rand(300, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    assert HeldOut(0.5, seed=0)(x).float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_its_weights_leave_those_of_a_join():
    class Heavier(BiC):
        def join(self, step):
            super().join(step)
            step.weights = torch.full((len(step.batch.y),), 2.0)

    weights = [augmented(configured(cls()), batch_of(0, 32)).weights for cls in (BiC, Heavier)]
    assert torch.equal(weights[1], 2 * weights[0]) and bool(weights[0].any())


class TestBudget:
    def test_what_is_kept_aside_is_a_part_of_the_buffer(self):
        method = configured(BiC(buffer_size=50, bias_samples=8))
        assert (method.buffer.capacity, method.held_out.capacity) == (42, 8)
        alone = configured(BiC(buffer_size=50, bias_samples=8), "task_incremental")  # where nothing is kept aside
        assert alone.buffer.capacity == 50

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"buffer_size": 20}, "--bias_samples 20 are a part of --buffer_size 20, of which they leave nothing"),
            ({"buffer_bytes": 4000}, "--buffer_bytes does not go with bic, whose --bias_samples are a part"),
        ],
    )
    def test_there_has_to_be_something_to_replay(self, options, sentence):
        with refused(sentence, InvalidOptionError):
            configured(BiC(**options))

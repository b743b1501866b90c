"""Both methods that answer from the samples they keep: what they see, when, and on how many workers."""

from dataclasses import dataclass

import pytest
import torch
from sklearn.linear_model import Ridge
from torch.utils.flop_counter import FlopCounterMode

from redwood.branches.streaming.just_in_time import JustInTime
from redwood.branches.streaming.moving_window import MovingWindow
from redwood.branches.streaming.prequential import fit_ridge, predict_ridge, ridge_flops
from redwood.settings import ClassSplit
from tests.methods.helpers import numbers
from tests.regression import line
from tests.samples import N_TRAIN, numbered
from tests.small_runs import comparable, run_here, small_setting

BOTH = [MovingWindow, JustInTime]


def watched(kind, **options):
    @dataclass
    class Watched(kind):
        """Notes what has been added before each prediction in the stream."""

        regression = True

        def configure(self, setting):
            super().configure(setting)
            self.forget()

        def forget(self):
            super().forget()
            self.added, self.before = [], []

        def add(self, x, y):
            super().add(x, y)
            self.added += numbers(x)

        def predict(self, x, task_id):
            self.before.append((numbers(x), list(self.added)))
            return super().predict(x, task_id)

    return Watched(**options)


@pytest.mark.parametrize("kind", BOTH)
class TestStream:
    def test_samples_are_predicted_then_added_and_read_once(self, kind):
        method = watched(kind)
        run_here(small_setting("continual", dataset=numbered(), passes=3), method)
        assert sorted(method.added) == list(range(N_TRAIN))
        in_stream = [(asked, before) for asked, before in method.before if asked[0] < N_TRAIN]
        for asked, before in in_stream:
            assert before == method.added[: len(before)]
            assert method.added[len(before) : len(before) + len(asked)] == asked

    def test_where_past_data_comes_again_it_is_kept_once(self, kind):
        method = watched(kind)
        run_here(small_setting("cumulative", dataset=numbered()), method)
        assert sorted(method.added) == list(range(N_TRAIN))

    def test_task_ids_at_test_restrict_the_classes(self, kind):
        method = kind()
        setting = small_setting("task_incremental", stream=ClassSplit(class_order=range(10)), nb_tasks=5)
        run_here(setting, method)
        answers = method.predict(setting.dataset.source.x_test, torch.full((100,), 3)).argmax(1)
        assert set(answers.tolist()) <= {6, 7}
        assert len(set(answers.tolist())) == 2

    def test_without_any_sample_the_answer_is_zero(self, kind):
        setting = small_setting("domain_incremental", dataset=line())
        assert run_here(setting, kind()).untrained_accuracy == pytest.approx(
            [float(task.square().mean().sqrt()) for task in targets_of(setting)]
        )


def targets_of(setting):
    stream = setting.open_stream()
    return [setting.dataset.source.y_test[task.rows_test] for task in stream._source.tasks]


def on_two(kind):
    return run_here(small_setting("domain_incremental", dataset=line(n_train=120), workers=2, batch_size=5), kind())


@pytest.mark.parametrize("kind", BOTH)
def test_two_workers_answer_as_one_does_on_batches_of_twice_the_size(kind, two_workers):
    """Each sees what all have seen, so that nothing depends on how the stream was sharded."""
    alone = run_here(small_setting("domain_incremental", dataset=line(n_train=120), batch_size=10), kind())
    first, second = two_workers.run(on_two, kind)
    assert comparable(first) == comparable(second)
    for mine, together in zip(alone.accuracy_matrix, first.accuracy_matrix, strict=True):
        assert together == pytest.approx(mine, rel=1e-9)
    assert first.metrics["online_rmse"] == pytest.approx(alone.metrics["online_rmse"])


def drawn(n, d, k=2):
    generator = torch.Generator().manual_seed(n)
    x = 3 + torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, k, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (4, 30), (5, 5), (1, 3)])
class TestAgainstScikitLearn:
    def test_one_model(self, n, d):
        x, y = drawn(n, d)
        weights, bias = fit_ridge(x, y, 0.3)
        expected = Ridge(alpha=0.3).fit(x.numpy(), y.numpy())
        torch.testing.assert_close(weights, torch.from_numpy(expected.coef_).T, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(bias, torch.from_numpy(expected.intercept_), rtol=1e-8, atol=1e-9)

    def test_a_weighted_model_for_each_query(self, n, d):
        parts = [drawn(n, d), drawn(n, d)]
        x, y = (torch.stack(values) for values in zip(*parts, strict=True))
        weights, at = torch.rand(2, n, dtype=torch.float64) + 0.1, drawn(2, d)[0]
        found = predict_ridge(x, y, weights, at, 0.3)
        for query in range(2):
            model = Ridge(alpha=0.3).fit(x[query].numpy(), y[query].numpy(), sample_weight=weights[query].numpy())
            torch.testing.assert_close(found[query], torch.from_numpy(model.predict(at[query : query + 1].numpy()))[0])


@pytest.mark.parametrize(("n", "d"), [(300, 40), (40, 300)])
def test_operations_are_the_products_that_torch_counts_and_those_of_solving(n, d):
    x, y = drawn(n, d, k=7)
    with FlopCounterMode(display=False) as counter:
        fit_ridge(x, y, 0.3)
    solving = 2 * 40**3 / 3 + 2 * 40**2 * 7
    assert ridge_flops(n, d, 7) - solving == pytest.approx(counter.get_total_flops(), rel=0.01)

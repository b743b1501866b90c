import math

import pytest
import torch
from sklearn.linear_model import Ridge

from redwood.branches.streaming.just_in_time import JustInTime
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.engine.run import Run
from tests.regression import line
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def filled(method, data=None):
    data = data or line()
    method.attach(Run(accelerator="cpu"))
    method.configure(small_setting("continual", dataset=data).for_method())
    method.add(data.x, data.y)
    return method


def neighbours_of(method, data, query, k):
    """Inputs, targets and weights of the nearest samples, by brute force."""
    x, at = method.inputs(data.x), method.inputs(data.x_test[query : query + 1])
    nearest = sorted((math.dist(row, at[0]), number) for number, row in enumerate(x.tolist()))[:k]
    rows = [number for _, number in nearest]
    weights = [math.exp(-((distance / nearest[-1][0]) ** 2)) for distance, _ in nearest]
    return x[rows], data.y[rows], torch.tensor(weights, dtype=torch.float64), at


@pytest.mark.parametrize("query", [0, 17])
class TestByBruteForce:
    def test_a_local_model_is_weighted_ridge_regression_on_the_nearest_samples(self, query):
        data, method = line(noise=1.0), filled(JustInTime(neighbours=12, ridge=0.2), line(noise=1.0))
        x, y, weights, at = neighbours_of(method, data, query, 12)
        model = Ridge(alpha=0.2).fit(x.numpy(), y.numpy(), sample_weight=weights.numpy())
        expected = torch.from_numpy(model.predict(at.numpy())).float()[0]
        torch.testing.assert_close(method.predict(data.x_test, None)[query], expected)

    def test_a_vote_is_the_weighted_share_of_each_class(self, query):
        data, method = few_digits(), filled(JustInTime(neighbours=9, local_model="vote"), few_digits())
        _, y, weights, _ = neighbours_of(method, data, query, 9)
        expected = torch.bincount(y, weights, minlength=10) / weights.sum()
        torch.testing.assert_close(method.predict(data.x_test, None)[query], expected.float())


class TestDatabase:
    def test_fewer_samples_than_neighbours_and_equal_ones(self):
        data = line(n_train=3)
        assert torch.isfinite(filled(JustInTime(), data).predict(data.x_test, None)).all()
        method = filled(JustInTime(), data)
        method.forget()
        method.add(data.x[:1].repeat(5, 1), data.y[:1].repeat(5))
        torch.testing.assert_close(method.predict(data.x[:1], None), data.y[:1])

    def test_a_ring_holds_the_latest_samples_of_all_classes(self):
        data, method = few_digits(), filled(JustInTime(buffer_size=30), few_digits())
        assert sorted(method.buffer.ages().tolist()) == list(range(30))
        assert torch.equal(method.buffer.all()["y"].sort().values, data.y[130:].sort().values)

    def test_chunks_of_queries_do_not_matter(self, monkeypatch):
        data, method = few_digits(), filled(JustInTime(), few_digits())
        whole = method.predict(data.x_test, None)
        monkeypatch.setattr("redwood.branches.streaming.just_in_time._ELEMENTS", 40 * 64 * 7)
        torch.testing.assert_close(method.predict(data.x_test, None), whole)

    @pytest.mark.parametrize("policy", ["reservoir", {"partitioning": {"rho": 0.5}}, "class_balanced"])
    def test_policies_for_classes(self, policy):
        method = JustInTime(buffer_size=50, buffer_policy=policy)
        results = run_here(small_setting("class_incremental"), method)
        assert len(method.buffer) == 50
        assert results.objective > 0.5
        assert (results.cost.buffer_bytes, results.cost.parameters) == (method.buffer.nbytes, 0)

    @pytest.mark.parametrize("components", [0, 2])
    def test_a_reservoir_of_numbers(self, components):
        data, method = line(components=components), JustInTime(buffer_size=50, buffer_policy="reservoir")
        results = run_here(small_setting("continual", dataset=data), method)
        assert len(method.buffer) == 50
        assert results.objective < 0.1

    def test_policies_that_go_by_classes_are_refused_for_numbers(self):
        with pytest.raises(InvalidOptionError, match="class_balanced goes by classes, but the targets of line are"):
            run_here(small_setting("continual", dataset=line()), JustInTime(buffer_policy="class_balanced"))

    @pytest.mark.parametrize(
        "options", [{"buffer_policy": "herding"}, {"buffer_policy": "loss_aware"}, {"neighbours": 0}]
    )
    def test_options_out_of_range(self, options):
        with pytest.raises(RedwoodError, match=r"goes by|has to be at least 1"):
            JustInTime(**options)

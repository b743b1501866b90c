import pytest
import torch
from torch.nn import functional as F

from redwood.branches.streaming.ranpac import RanPAC
from redwood.settings import ClassSplit
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


class Watched(RanPAC):
    """Notes the random features and labels that it learns from, in their order."""

    def learn(self, features, y):
        self.__dict__.setdefault("learned", []).append((features.clone(), y))
        super().learn(features, y)

    def everything(self):
        return torch.cat([features for features, _ in self.learned]), torch.cat([y for _, y in self.learned])


def ridge_regression(features, y, ridge):
    """The weights that minimise the squared error to one-hot labels, plus the ridge's penalty: by QR, not by sums."""
    m = features.shape[1]
    rows = torch.cat([features, ridge**0.5 * torch.eye(m, dtype=features.dtype)])
    targets = torch.cat([F.one_hot(y, 10).to(features.dtype), torch.zeros(m, 10, dtype=features.dtype)])
    return torch.linalg.lstsq(rows, targets).solution


@pytest.mark.parametrize("key", ["traditional", "class_incremental", "continual"])
class TestRegression:
    def test_it_is_that_of_all_samples_together(self, key):
        data, method = few_digits(), Watched(projection_dim=50, ridge=30.0)
        run_here(small_setting(key, stream=ClassSplit(class_order=list(range(10)))), method)
        project = method.projection.double()
        features = ((data.x.double() / 8 - 1).flatten(1) @ project).relu()
        unseen = ((data.x_test.double() / 8 - 1).flatten(1) @ project).relu()
        expected = unseen @ ridge_regression(features, data.y, 30.0)
        torch.testing.assert_close(method.predict(data.x_test, None), expected, rtol=1e-6, atol=1e-6)

    def test_lambda_has_the_least_error_on_the_fifth_held_out(self, key):
        method = Watched(projection_dim=50)
        run_here(small_setting(key), method)
        features, y = method.everything()
        held_out = torch.arange(160) % 5 == 4
        errors = {}
        for power in range(-3, 7):
            weights = ridge_regression(features[~held_out], y[~held_out], 10.0**power)
            errors[power] = float((features[held_out] @ weights - F.one_hot(y[held_out], 10)).square().sum())
        best = min(errors, key=errors.__getitem__)
        assert method.chosen == pytest.approx(10.0**best)
        expected = method.features(few_digits().x_test) @ ridge_regression(features, y, 10.0**best)
        torch.testing.assert_close(method.predict(few_digits().x_test, None), expected, rtol=1e-5, atol=1e-5)


def test_a_ridge_too_small_for_double_precision_is_raised():
    """Fewer samples than random features: without a ridge the Gram matrix has no inverse."""
    method = RanPAC(projection_dim=300, ridge=1e-12)
    results = run_here(small_setting("online_class_incremental"), method)
    assert torch.isfinite(method.predict(few_digits().x_test, None)).all()
    assert results.metrics["average_accuracy"] > 0.5


def test_the_projection_follows_from_the_seed():
    first, second, other = (RanPAC(projection_dim=20) for _ in range(3))
    for method, seed in ((first, 0), (second, 0), (other, 1)):
        run_here(small_setting("online_class_incremental", seed=seed), method)
    assert torch.equal(first.projection, second.projection)
    assert not torch.equal(first.projection, other.projection)

import pytest
import torch
from sklearn.linear_model import Ridge
from torch.utils.flop_counter import FlopCounterMode

from redwood.methods.streaming.prequential import fit_ridge, predict_ridge, ridge_flops


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

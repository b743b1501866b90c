import pytest
import torch

from redwood.core.errors import InvalidOptionError
from redwood.methods.regularisation.mas import MAS
from tests.methods.helpers import configured, move, weights_of
from tests.methods.regularisation.linear import Linear, linear, mean_product
from tests.small_runs import run_here, small_setting


class TestImportance:
    def test_of_a_linear_map(self):
        """For F(x) = W x + b, d||F||^2 / dW_ij = 2 F_i x_j and d||F||^2 / db_i = 2 F_i."""
        method, batch, pixels, scores = linear(MAS(model=Linear()))
        found = method.importance_on(batch.x, batch.y, batch.task_id)
        torch.testing.assert_close(found["1.weight"], mean_product(2 * scores.abs(), pixels.abs()))
        torch.testing.assert_close(found["1.bias"], 2 * scores.abs().mean(0))

    def test_labels_do_not_matter(self):
        method, batch, *_ = linear(MAS(model=Linear()))
        found, other = (method.importance_on(batch.x, y, batch.task_id) for y in (batch.y, 9 - batch.y))
        assert all(torch.equal(found[name], other[name]) for name in found)

    def test_only_the_head_of_the_task_counts(self):
        method, batch, _, scores = linear(MAS(model=Linear()), "task_incremental")
        method.heads.learn({0: (2, 5)})
        found = method.importance_on(batch.x, batch.y, batch.task_id)["1.bias"]
        expected = 2 * scores.abs().mean(0)
        expected[[0, 1, 3, 4, 6, 7, 8, 9]] = 0
        torch.testing.assert_close(found, expected)

    def test_it_adds_up_over_tasks(self):
        class Watched(MAS):
            def importance(self):
                found.append(super().importance())
                return found[-1]

        found: list = []
        method = Watched(model=Linear(), mas_samples=20, importance_scale="none")
        run_here(small_setting("online_class_incremental"), method)
        assert len(found) == 3
        for name, value in method.curvature.items():
            torch.testing.assert_close(value, sum(part[name] for part in found))
        assert all(map(torch.equal, method.minimum.values(), weights_of(method)))


def test_penalty():
    """Section 4: there is no factor of 1/2."""
    method = configured(MAS(mas_lambda=0.7))
    method.move_penalty({name: torch.full_like(p, 2.0) for name, p in method.trained_weights()})
    anchor = weights_of(method)
    move(method)
    distance = sum((new - old).square().sum() for new, old in zip(weights_of(method), anchor, strict=True))
    torch.testing.assert_close(method.penalty().detach(), 0.7 * 2 * distance)


@pytest.mark.parametrize("options", [{"mas_lambda": -1.0}, {"mas_samples": 0}])
def test_options_out_of_range(options):
    with pytest.raises(InvalidOptionError, match="has to be at least"):
        MAS(**options)

import math

import pytest
import torch

from redwood.branches.modular.selection import HeldOutScores, deepest_reuse, highest_accuracy, no_worse


def errors(*means, n=400, spread=0.05):
    noise = torch.randn(n, generator=torch.Generator().manual_seed(1)) * spread
    return torch.stack([mean + noise + 0.01 * torch.randn(n) for mean in means])


class TestScores:
    def test_the_expected_error_is_one_minus_the_probability_of_the_class(self):
        scores = HeldOutScores(torch.tensor([[-math.log(0.25), 0.0]]), torch.tensor([[False, True]]))
        assert scores.errors[0].tolist() == pytest.approx([0.75, 0.0])
        assert scores.accuracy.tolist() == [0.5]

    def test_of_equal_accuracies_the_lower_loss_counts(self):
        losses = torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.1, 0.1]])
        correct = torch.tensor([[True, True], [True, True], [True, False]])
        assert highest_accuracy(HeldOutScores(losses, correct)) == 1


class TestNoWorse:
    def test_the_share_of_draws_follows_the_normal_approximation(self):
        # Bootstrap means are about normal: P(mean <= margin) = Phi((margin - mean) / (std / sqrt(n))).
        generator = torch.Generator().manual_seed(0)
        reference = torch.zeros(200)
        candidate = 0.1 * torch.randn(200, generator=generator)
        for margin in (-0.01, 0.0, 0.01):
            z = (margin - candidate.mean()) / (candidate.std() / math.sqrt(200))
            expected = float(torch.distributions.Normal(0, 1).cdf(z))
            assert no_worse(candidate, reference, margin, 0) == pytest.approx(expected, abs=0.06)

    def test_equal_candidates_are_no_worse_even_without_a_margin(self):
        assert no_worse(torch.rand(5), torch.rand(5) * 0 + 2, 0, 0) == 1
        same = torch.rand(5)
        assert no_worse(same, same, 0.0, 0) == 1

    def test_the_seed_decides(self):
        first, second = torch.rand(30), torch.rand(30)
        assert no_worse(first, second, 0.0, 3) == no_worse(first, second, 0.0, 3)


class TestDeepestReuse:
    def test_harmful_reuse_is_refused(self):
        assert deepest_reuse(errors(0.2, 0.5, 0.6), [0, 1, 2], 0.03, 0.9, 0) == 0

    def test_of_harmless_reuse_the_deepest_is_kept(self):
        assert deepest_reuse(errors(0.2, 0.2, 0.21, 0.5), [0, 1, 2, 3], 0.03, 0.9, 0) == 2

    def test_reuse_that_helps_much_beats_deeper_reuse_that_helps_little(self):
        assert deepest_reuse(errors(0.5, 0.1, 0.4), [0, 1, 2], 0.03, 0.9, 0) == 1

    def test_few_samples_keep_new_modules_where_many_would_allow_reuse(self):
        torch.manual_seed(0)
        candidates = torch.stack([torch.full((400,), 0.2), 0.22 + 0.3 * torch.randn(400)])
        many = deepest_reuse(candidates.repeat(1, 20), [0, 1], 0.05, 0.9, 0)
        few = deepest_reuse(candidates[:, :8] - candidates[:, :8].mean(1, keepdim=True) + 0.2, [0, 1], 0.05, 0.9, 0)
        assert (many, few) == (1, 0)

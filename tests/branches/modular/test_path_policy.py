import pytest
import torch

from redwood.branches.modular.path_policy import PathPolicy


def depths(policy, n=4000):
    return [len(policy.sample(step)) for step in range(n)]


def test_all_depths_are_alike_likely_at_first():
    counts = torch.bincount(torch.tensor(depths(PathPolicy([[True]] * 4, 0))), minlength=5)
    assert counts[0] == 0
    # Chi-square with 3 degrees of freedom: 16.27 is its 99.9 % quantile.
    assert float(((counts[1:] - 1000.0) ** 2 / 1000).sum()) < 16.27


def test_a_module_that_does_not_fit_is_never_taken_over():
    policy = PathPolicy([[True, True], [True, True], [False, True]], 0)
    paths = [policy.sample(step) for step in range(500)]
    assert max(map(len, paths)) == 3 and {path[2] for path in paths if len(path) == 3} == {1}
    assert len(PathPolicy([[True], [True], [False]], 0).mode()) == 2


@pytest.mark.parametrize("best", [1, 3])
def test_learns_the_depth_that_is_rewarded(best):
    policy = PathPolicy([[True]] * 4, 0)
    for _ in range(150):
        chosen = policy.sample()
        policy.reward(chosen, 1.0 if len(chosen) == best else 0.0)
    assert sum(depth == best for depth in depths(policy, 200)) > 150


def test_the_gradient_is_that_of_the_score_function():
    policy = PathPolicy([[True], [True]], 0)
    policy.baseline, policy.updates = 0.5, 1
    before = policy.logits.clone()
    policy.reward([0], 1.5)  # takes the first module over, and then new ones
    moved = policy.logits - before
    p = float(before[1].softmax(0)[1])
    # d log p(new at depth 1) / d logit(new) = 1 - p; the bonus of the entropy is 0 where all depths are alike likely.
    assert float(moved[1, 1]) == pytest.approx(1.0 * (1 - p), abs=0.02)
    assert policy.baseline == pytest.approx(0.6)


def test_goes_on_from_its_state():
    first = PathPolicy([[True, True]] * 3, 7)
    for step in range(5):
        first.reward(first.sample(), -float(step))
    second = PathPolicy([[True, True]] * 3, 7)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.logits, second.logits) and first.sample() == second.sample()

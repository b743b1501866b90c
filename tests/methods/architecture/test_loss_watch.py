"""When a change of the losses is noticed, and when not."""

import random

from redwood.methods.architecture.widen import LossWatch


def lognormal(seed, n, scale=1.0):
    numbers = random.Random(seed)
    return [scale * numbers.lognormvariate(0, 0.5) for _ in range(n)]


def fired(watch, losses):
    return [step for step, loss in enumerate(losses) if watch.update(loss)]


def test_a_planted_change_is_noticed_soon_and_once():
    for seed in range(5):
        steps = fired(LossWatch(50, 5), lognormal(seed, 300) + lognormal(seed + 100, 300, scale=8))
        assert len(steps) == 1
        assert 304 <= steps[0] < 315


def test_each_change_is_noticed():
    losses = [loss for number in range(4) for loss in lognormal(number, 200, scale=6.0**number)]
    assert [step // 200 for step in fired(LossWatch(50, 5), losses)] == [1, 2, 3]


def test_stationary_losses_hardly_ever_fire():
    """At most one alarm in 10,000 losses of a heavy tail."""
    assert sum(len(fired(LossWatch(50, 5), lognormal(seed, 1000))) for seed in range(10)) <= 1


def test_falling_losses_and_single_outliers_do_not_fire():
    assert not fired(LossWatch(50, 5), [2.0 * 0.99**step for step in range(1000)])
    losses = lognormal(0, 1000)
    losses[500] = 20.0
    assert not fired(LossWatch(50, 5), losses)


def test_it_goes_on_from_a_state():
    losses = lognormal(1, 120) + lognormal(2, 30, scale=8)
    whole, first, second = LossWatch(50, 5), LossWatch(50, 5), LossWatch(50, 5)
    steps = fired(whole, losses)
    assert steps
    assert not fired(first, losses[:123])
    second.load_state_dict(first.state_dict())
    assert [step + 123 for step in fired(second, losses[123:])] == steps
    assert second.state_dict() == whole.state_dict()

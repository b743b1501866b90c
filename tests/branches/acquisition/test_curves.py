"""Learning curves: power laws are recovered, and what cannot be fitted is not."""

import numpy as np
import pytest

from redwood.branches.acquisition.curves import Points, PowerLaw, fit_power_law

SIZES = np.linspace(20, 200, 10)


@pytest.mark.parametrize("law", [PowerLaw(2.0, 0.3), PowerLaw(0.5, 0.05), PowerLaw(30.0, 1.2), PowerLaw(1.5, 0.7)])
def test_an_exact_power_law_is_recovered_within_five_percent(law):
    found = fit_power_law(Points(SIZES, law(SIZES)))
    assert (found.b, found.a) == pytest.approx((law.b, law.a), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_power_law_is_recovered_within_five_percent(seed):
    """The noise has the standard deviation that the weights assume, up to a factor."""
    law = PowerLaw(3.0, 0.4)
    noise = np.random.default_rng(seed).normal(size=10) * 0.02 / np.sqrt(SIZES)
    found = fit_power_law(Points(SIZES, law(SIZES) + noise))
    assert (found.b, found.a) == pytest.approx((law.b, law.a), rel=0.05)


def test_large_sizes_count_more():
    law = PowerLaw(3.0, 0.4)
    errors = np.where(np.arange(10) == 0, 0.3, 0.0), np.where(np.arange(10) == 9, 0.3, 0.0)
    early, late = (fit_power_law(Points(SIZES, law(SIZES) + error)) for error in errors)
    assert abs(early(400) - law(400)) < abs(late(400) - law(400))


def test_parameters_are_not_negative():
    found = fit_power_law(Points(SIZES, np.linspace(0.5, 0.9, 10)))
    assert found.a == pytest.approx(0, abs=1e-6) and found.b > 0


@pytest.mark.parametrize(
    ("sizes", "losses"),
    [
        ([], []),
        ([10.0, 20.0], [1.0, 0.5]),
        ([10.0, 10.0, 10.0], [1.0, 0.5, 0.4]),
        ([10.0, 20.0, 30.0], [1.0, np.nan, 0.4]),
        ([10.0, 20.0, 30.0], [1.0, np.inf, 0.4]),
        ([10.0, 20.0, 30.0], [0.0, 0.0, 0.0]),
    ],
)
def test_what_cannot_be_fitted(sizes, losses):
    assert fit_power_law(Points(np.array(sizes), np.array(losses))) is None


def test_slope_is_the_derivative():
    law = PowerLaw(2.0, 0.3)
    assert law.slope(50.0) == pytest.approx((law(50.001) - law(49.999)) / 0.002, rel=1e-4)


def test_mean_at_each_size():
    means = Points(np.array([2.0, 1.0, 2.0]), np.array([1.0, 5.0, 3.0])).means()
    assert (means.sizes.tolist(), means.losses.tolist()) == ([1.0, 2.0], [5.0, 2.0])


def test_losses_that_rise_make_a_flat_curve():
    sizes = np.array([5.0, 10.0, 20.0, 40.0])
    assert fit_power_law(Points(sizes, 0.5 * sizes**0.3)).is_flat
    assert not fit_power_law(Points(sizes, 0.5 * sizes**-0.1)).is_flat

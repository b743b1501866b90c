import itertools

import pytest
import torch

from redwood.settings.streams.partition import dirichlet_owners, serve_own
from tests.buffers.statistics import ALPHA, share_p_value, z_score

CLASSES = torch.arange(1000) % 10


def shares(alpha, n_parts=10, seed=0, classes=CLASSES):
    """Samples of each class in each part (W, K)."""
    quotas = [len(classes) * (part + 1) // n_parts - len(classes) * part // n_parts for part in range(n_parts)]
    owners = dirichlet_owners(classes, quotas, alpha, seed)
    n_classes = int(classes.max()) + 1
    counts = (owners * n_classes + classes).bincount(minlength=n_parts * n_classes).view(n_parts, n_classes)
    assert counts.sum(1).tolist() == quotas
    return counts


class TestDirichletOwners:
    @pytest.mark.parametrize("alpha", [1e-300, 1e-3, 0.1, 1.0, 1e300])
    @pytest.mark.parametrize("quotas", [[10], [3, 3, 4], [0, 10, 0], [1] * 10])
    def test_every_sample_has_one_owner_and_every_quota_is_filled(self, alpha, quotas):
        for classes, seed in itertools.product(
            (torch.arange(10) % 3, torch.arange(10), torch.zeros(10).long()), [0, 1]
        ):
            owners = dirichlet_owners(classes, quotas, alpha, seed)
            assert owners.bincount(minlength=len(quotas)).tolist() == quotas

    def test_it_follows_from_the_seed(self):
        first, again, other = (dirichlet_owners(CLASSES, [500, 500], 0.5, seed) for seed in (0, 0, 1))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_a_small_alpha_gives_few_classes_to_each_part(self):
        def classes_of_90_percent(alpha):
            sorted_shares = shares(alpha).sort(1, descending=True).values.cumsum(1) / 100
            return (sorted_shares < 0.9).sum(1).double().mean() + 1

        assert classes_of_90_percent(0.1) < 3.5
        assert classes_of_90_percent(1.0) < 6
        assert classes_of_90_percent(1000.0) > 8

    def test_a_large_alpha_is_close_to_random_shares(self):
        """Counts of classes in parts are then multinomial, but less dispersed as no sample is drawn twice."""
        counts = torch.stack([shares(1e12, seed=seed)[0] for seed in range(200)]).sum(0)
        assert share_p_value(counts, torch.ones(10)) > ALPHA
        spread = torch.stack([shares(1e12, seed=seed)[0].double() for seed in range(200)]).var(0).mean()
        hypergeometric = 100 * 0.1 * 0.9 * 900 / 999
        assert float(spread) == pytest.approx(hypergeometric, rel=0.15)

    def test_a_part_that_meets_no_other_has_the_variance_of_the_dirichlet(self):
        """One sample of many classes is asked for by two parts, so hardly any class is used up."""
        classes, alpha, n = torch.arange(20_000) % 2, 2.0, 100
        share = []
        for seed in range(400):
            owners = dirichlet_owners(classes, [n, 20_000 - n], alpha, seed)
            share.append(float(((classes == 0) & (owners == 0)).sum()) / n)
        values = torch.tensor(share)
        assert abs(z_score(values, 0.5)) < 3.3
        of_preference = 0.25 / (alpha + 1)  # the variance of Beta(alpha / 2, alpha / 2)
        expected = of_preference + (0.25 - of_preference) / n
        assert float(values.var()) == pytest.approx(expected, rel=0.2)

    def test_parts_that_prefer_the_same_class_still_differ_in_the_others(self):
        """Preferences far below the smallest float decide once the class that both prefer is used up."""
        alike = 0
        for seed in range(200):
            counts = shares(1e-3, 2, seed)
            alike += int((counts[0] - counts[1]).abs().sum() < 500)
        assert alike < 10

    def test_parts_are_treated_alike(self):
        """The last part gets no leftovers: all are equally skewed."""
        skew = torch.stack([shares(0.1, seed=seed).double().var(1) for seed in range(200)])
        assert abs(z_score(skew[:, 0] - skew[:, -1], 0.0)) < 3.3

    def test_the_shares_of_classes_are_the_mean_preferences(self):
        classes = (torch.arange(1000) % 10 >= 2).long()
        first = torch.stack([shares(0.5, 4, seed, classes)[0, 0].double() / 250 for seed in range(300)])
        assert abs(z_score(first, 0.2)) < 3.3


class TestServeOwn:
    @pytest.mark.parametrize("n_workers", [1, 2, 3, 4])
    def test_each_place_holds_a_sample_of_its_worker(self, n_workers):
        random = torch.Generator().manual_seed(0)
        places = torch.arange(50) % n_workers
        owners = places[torch.randperm(50, generator=random)]
        order = torch.randperm(50, generator=random)
        served = serve_own(order, owners, places)
        assert torch.equal(owners[served], places)
        assert torch.equal(served.sort().values, torch.arange(50))
        for worker in range(n_workers):
            assert torch.equal(served[places == worker], order[owners[order] == worker])

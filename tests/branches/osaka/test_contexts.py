"""The latent contexts: how often they switch, and what each visit shows."""

import math
from itertools import pairwise

import pytest
import torch

from redwood.branches.osaka.contexts import draw_entries, draw_visits
from redwood.core.seeding import generator

CLASSES = [torch.arange(10), torch.arange(10, 20), torch.arange(20, 40)]
ROWS_OF = {label: torch.arange(100 * label, 100 * label + 11) for label in range(40)}


def visits_of(steps, alpha=0.9, probabilities=(0.5, 0.25, 0.25), ways=5, seed=0):
    random = generator(seed, "test")
    return draw_visits(CLASSES, probabilities, steps=steps, ways=ways, alpha=alpha, random=random)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.98])
def test_contexts_switch_with_probability_one_minus_alpha(alpha):
    steps = 20_000
    rate = (len(visits_of(steps, alpha).starts) - 1) / (steps - 1)
    assert abs(rate - (1 - alpha)) <= 3 * math.sqrt(alpha * (1 - alpha) / (steps - 1))


def test_the_ends_of_alpha():
    assert visits_of(50, alpha=1.0).lengths.tolist() == [50]
    assert visits_of(50, alpha=0.0).lengths.tolist() == [1] * 50


def test_domains_come_with_their_probabilities():
    visits = visits_of(8000, alpha=0.0, probabilities=(0.7, 0.0, 0.3))
    shares = torch.bincount(visits.domains, minlength=3) / 8000
    assert shares[1] == 0
    assert abs(float(shares[0]) - 0.7) < 0.02


def test_visits_fill_the_stream():
    visits = visits_of(300)
    assert visits.starts.tolist() == [0, *visits.lengths.cumsum(0)[:-1].tolist()]
    assert visits.of_steps().bincount().tolist() == visits.lengths.tolist()


def test_each_visit_has_different_classes_of_its_domain_in_a_new_order():
    visits = visits_of(400, alpha=0.5)
    for domain, classes in zip(visits.domains.tolist(), visits.classes, strict=True):
        assert len(set(classes.tolist())) == 5
        assert set(classes.tolist()) <= set(CLASSES[domain].tolist())
    again = [a.tolist() != b.tolist() for a, b in pairwise(visits.classes[visits.domains == 0])]
    assert len(again) > 50
    assert sum(again) >= len(again) - 1


def test_a_visit_draws_all_classes_in_some_order_if_it_takes_them_all():
    visits = visits_of(40, alpha=0.5, ways=10, probabilities=(1, 0, 0))
    assert (visits.classes.sort(1).values == torch.arange(10)).all()
    assert len({tuple(classes) for classes in visits.classes.tolist()}) == len(visits.classes)


class TestSamples:
    def steps_of(self, shots, query=0, steps=60, alpha=0.9):
        """Labels of the classes (T, n), rows (T, n) and visits."""
        visits = visits_of(steps, alpha)
        entries = draw_entries(visits, ROWS_OF, shots=shots, query=query, random=generator(1, "test"))
        rows = entries.rows.view(steps, -1)
        assert (entries.tasks.view(steps, -1) == visits.of_steps()[:, None]).all()
        return rows // 100, rows, visits

    def test_each_step_has_as_many_samples_of_each_class(self):
        labels, rows, visits = self.steps_of(shots=3)
        for step, visit in enumerate(visits.of_steps().tolist()):
            assert sorted(labels[step].tolist()) == sorted(visits.classes[visit].tolist() * 3)
            assert len(set(rows[step].tolist())) == 15

    def test_samples_are_fresh_until_all_of_the_class_were_shown(self):
        _, rows, visits = self.steps_of(shots=3, alpha=1.0)
        assert len(visits.starts) == 1
        assert len(set(rows[:3].flatten().tolist())) == 45  # 11 samples suffice for three steps

    def test_the_place_of_a_sample_tells_no_class(self):
        labels, _, visits = self.steps_of(shots=3, steps=400, alpha=0.0)
        first = (labels[:, :1] == visits.classes).int().argmax(1)
        assert first.bincount(minlength=5).min() > 40

    def test_an_episode_begins_with_its_support_set(self):
        labels, rows, visits = self.steps_of(shots=2, query=4, alpha=0.0)
        for step in range(60):
            assert sorted(labels[step, :10].tolist()) == sorted(visits.classes[step].tolist() * 2)
            assert sorted(labels[step, 10:].tolist()) == sorted(visits.classes[step].tolist() * 4)
            assert len(set(rows[step].tolist())) == 30

"""Learning curves from trainings on parts: sizes, held-out samples, and what they cost."""

import numpy as np
import pytest
import torch
from torch import nn

from redwood.branches.acquisition.trials import Samples, Trials
from redwood.methods.training.flops import FlopMeter
from tests.samples import few_digits

TRIALS = Trials(subsets=4, repeats=3, held_out=0.25, batch_size=8, passes=2, seed=0)


def digits():
    data = few_digits()
    return Samples(data.x.flatten(1).float() / 16, data.y, data.y, 10)


class Learners:
    """Makes linear networks, which note the samples that they see in training and at test."""

    def __init__(self):
        self.trained, self.tested = [], []

    def make(self):
        network = nn.Linear(64, 10)
        trained, tested = set(), set()
        self.trained.append(trained)
        self.tested.append(tested)
        network.register_forward_pre_hook(
            lambda module, args: (trained if module.training else tested).update(x.numpy().tobytes() for x in args[0])
        )
        return network, torch.optim.SGD(network.parameters(), 0.1)


def test_each_training_serves_all_slices_and_is_tested_on_other_samples():
    learners, samples = Learners(), digits()
    points = TRIALS.measure(samples, learners.make, FlopMeter())
    assert len(points) == 10 and len(learners.trained) == 12
    assert not any(seen & tested for seen, tested in zip(learners.trained, learners.tested, strict=True))
    for number, own in enumerate(points):
        n = int((samples.y == number).sum())
        rest = n - max(1, round(0.25 * n))
        assert own.sizes.tolist() == sorted({max(1, round(part / 4 * rest)) for part in (1, 2, 3, 4)})
        assert np.isfinite(own.losses).all()


def test_repeated_and_independent_of_the_global_generator():
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runs.append(TRIALS.measure(digits(), Learners().make, FlopMeter()))
        assert torch.initial_seed() == seed
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one.losses, other.losses)


def test_all_flops_are_search():
    flops = FlopMeter()
    TRIALS.measure(digits(), Learners().make, flops)
    used = flops.by_use()
    assert used["search"] > 0 and all(used[use] == 0 for use in used if use != "search")
    trained = 3 * 2 * sum(_trained_samples(part / 4) for part in (1, 2, 3, 4))
    # Forward, and the gradient of the weights: 2 * 2 * inputs * outputs a sample; the scores are a forward pass each.
    tested = 3 * sum(160 - _trained_samples(part / 4) for part in (1, 2, 3, 4))
    assert used["search"] == pytest.approx(2 * 64 * 10 * (2 * trained + tested), rel=0.05)


def _sizes():
    return torch.bincount(few_digits().y).tolist()


def _trained_samples(share):
    return sum(max(1, round(share * (n - max(1, round(0.25 * n))))) for n in _sizes())


def test_a_slice_of_one_sample_has_no_curve():
    samples = digits()
    kept = (samples.y != 3) | (torch.arange(160) == int((samples.y == 3).nonzero()[0]))
    points = TRIALS.measure(samples[kept.nonzero().flatten()], Learners().make, FlopMeter())
    assert len(points[3].sizes) == 0 and len(points[4].sizes) > 2


def test_samples_that_are_held_out_for_it_are_all_that_is_tested():
    learners, samples = Learners(), digits()
    kept = samples[torch.arange(120)]
    tested = samples[torch.arange(120, 160)]
    points = TRIALS.measure(kept, learners.make, FlopMeter(), tested)
    wanted = {x.numpy().tobytes() for x in tested.x}
    assert all(seen == wanted for seen in learners.tested)
    largest = [max(own.sizes) for own in points]
    assert largest == torch.bincount(kept.y, minlength=10).tolist()  # nothing is left out

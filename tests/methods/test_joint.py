import torch

from redwood.methods.baselines import Joint
from tests.small_runs import NormalisedNetwork, run_here, small_setting


class Watched(Joint):
    """Joint training that notes its first weights and statistics in each phase."""

    def fit(self, phase):
        self.__dict__.setdefault("starts", []).append(
            [value.clone() for value in self.network.state_dict().values() if value.is_floating_point()]
        )
        super().fit(phase)


def starts(seed=0, **options):
    method = Watched(**options)
    run_here(small_setting("cumulative", seed=seed), method)
    return method.starts


class TestNewWeights:
    def test_each_phase_starts_from_others(self):
        first, second, third = starts()
        for a, b in ((first, second), (second, third), (first, third)):
            assert not any(map(torch.equal, a, b))

    def test_they_are_initial_weights_not_trained_ones(self):
        bound = 1 / 8  # of a linear layer of 64 inputs
        for weights in starts():
            assert bound * 0.98 < float(weights[0].abs().max()) <= bound

    def test_they_follow_from_the_seed(self):
        for again, other, weights in zip(starts(), starts(seed=1), starts(), strict=True):
            assert all(map(torch.equal, again, weights))
            assert not any(map(torch.equal, other, weights))

    def test_a_network_of_ones_own_starts_each_phase_as_it_was_given(self):
        network = NormalisedNetwork()
        network(torch.randn(8, 64))  # statistics that are not those of a new network
        given = [value.clone() for value in network.state_dict().values() if value.is_floating_point()]
        for weights in starts(model=network):
            assert all(map(torch.equal, weights, given))

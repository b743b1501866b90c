"""Training regimes: the decay of the learning rate from phase to phase, and the stable regime."""

from statistics import mean

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune, StableSGD
from redwood.methods.training.optimizers import Sgd
from redwood.methods.training.schedules import DecayingRate
from redwood.settings.tree import DomainIncrementalSetting
from tests.methods.test_lightning import Watched, watch
from tests.samples import numbered
from tests.small_runs import run_here


class TestDecay:
    def first_rates(self, key: str = "class_incremental", **options: object) -> list[float]:
        method = watch(key, Watched(**{"lr": 0.1} | options), dataset=numbered(), batch_size=16)
        return [phase[0] for phase in method.watch.rates]

    @pytest.mark.parametrize("state", ["reset", "keep"])
    def test_phase_t_starts_at_the_rate_times_decay_to_the_t(self, state):
        rates = self.first_rates(regime=DecayingRate(0.4), optimizer=Sgd(momentum=0.9), optimizer_state=state)
        assert rates == pytest.approx([0.1, 0.04, 0.016])

    def test_all_steps_of_a_phase_have_its_rate(self):
        method = watch(method=Watched(lr=0.1, regime=DecayingRate(0.5), optimizer_state="keep"))
        assert [set(phase) for phase in method.watch.rates] == [{0.1}, {0.05}, {0.025}]

    def test_it_stops_at_the_floor(self):
        assert self.first_rates(regime=DecayingRate(0.1, 0.02)) == pytest.approx([0.1, 0.02, 0.02])

    def test_a_floor_above_the_rate_does_not_raise_it(self):
        assert self.first_rates(lr=1e-6) == [1e-6] * 3
        assert self.first_rates(lr=1e-6, regime=DecayingRate(0.5)) == [1e-6] * 3

    def test_it_multiplies_the_schedule(self):
        """Of a cosine that is kept phase t starts at (1 + cos(pi t / 3)) / 2."""
        rates = self.first_rates(regime=DecayingRate(0.5), lr_schedule="cosine", optimizer_state="keep")
        assert rates == pytest.approx([0.1, 0.5 * 0.075, 0.25 * 0.025])

    def test_there_is_none_where_no_boundary_is_announced(self):
        assert self.first_rates("task_agnostic", regime=DecayingRate(0.4)) == [0.1]

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"regime": {"decaying": {"lr_decay": 0.0}}}, "--lr_decay 0.0 has to be greater than 0 and at most 1"),
            ({"regime": {"decaying": {"lr_decay": 1.5}}}, "--lr_decay 1.5 has to be"),
            ({"regime": {"decaying": {"lr_decay": float("nan")}}}, "--lr_decay nan has to be"),
            ({"regime": {"decaying": {"lr_floor": -1.0}}}, "--lr_floor -1.0 has to be at least 0"),
        ],
    )
    def test_values_out_of_range(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            Finetune(**options)


class UnitScale(nn.Module):
    def forward(self, x):
        return x.float() / 16


def accuracies(method: Finetune, batch_size: int, seed: int) -> tuple[float, float]:
    """After the last task, and of each task right after training it."""
    torch.manual_seed(seed)
    hidden = [nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()]
    method.model = nn.Sequential(UnitScale(), nn.Flatten(), *hidden, nn.Linear(100, 10))
    setting = DomainIncrementalSetting(stream="permuted", nb_tasks=5, batch_size=batch_size, passes=20, seed=seed)
    results = run_here(setting, method)
    return results.objective, mean(row[task] for task, row in enumerate(results.accuracy_matrix))


@pytest.mark.slow
def test_the_stable_regime_forgets_less_than_the_plastic_one():
    stable = [accuracies(StableSGD(), 16, seed) for seed in range(3)]
    plastic = [accuracies(Finetune(lr=0.01, optimizer=Sgd(momentum=0.8)), 64, seed) for seed in range(3)]
    for learned in ([second for _, second in stable], [second for _, second in plastic]):
        assert mean(learned) >= 0.90
    assert mean(first for first, _ in stable) - mean(first for first, _ in plastic) >= 0.10

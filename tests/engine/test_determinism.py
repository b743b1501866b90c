"""One seed decides everything, and the number of workers nothing that a fixed rule could notice."""

import random

import numpy as np
import pytest
import torch

from redwood.methods.baselines import Joint, Random
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import Blurry, ClassSplit
from tests.small_runs import FixedRule, NormalisedNetwork, comparable, run_here, small_setting

ROOT_CASES = [
    ("continual", Rehearsal, {}),
    ("task_agnostic", Rehearsal, {"transition": Blurry(blur=0.3)}),
    ("class_incremental", EWC, {"validation": 0.2}),
    ("task_incremental", Rehearsal, {"stream": "permuted"}),
    ("domain_incremental", Random, {"stream": "instance"}),
    ("cumulative", Joint, {}),
]


class TestSeed:
    @pytest.mark.parametrize(("key", "method", "options"), ROOT_CASES, ids=[case[0] for case in ROOT_CASES])
    def test_same_seed_same_results(self, key, method, options):
        outcomes = []
        for disturbance in (1, 2):  # what was drawn before a run makes no difference to it
            random.seed(disturbance)
            np.random.seed(disturbance)
            torch.manual_seed(disturbance)
            outcomes.append(comparable(run_here(small_setting(key, **options), method())))
        assert outcomes[0] == outcomes[1]

    def test_a_network_of_ones_own_with_dropout(self):
        outcomes = []
        for _ in range(2):
            torch.manual_seed(0)
            outcomes.append(run_here(small_setting("class_incremental"), Rehearsal(model=NormalisedNetwork())))
        assert outcomes[0].accuracy_matrix == outcomes[1].accuracy_matrix
        assert outcomes[0].online_curve == outcomes[1].online_curve

    def test_another_seed_gives_other_tasks(self):
        orders = [
            [phase.task_classes for phase in small_setting("class_incremental", seed=seed).phases()]
            for seed in (0, 0, 1, 2)
        ]
        assert orders[0] == orders[1]
        assert orders[1] != orders[2] != orders[3] != orders[1]

    @pytest.mark.parametrize("key", ["continual", "class_incremental"])
    def test_another_seed_gives_another_order_of_samples_and_other_weights(self, key):
        def first_batch_and_weights(seed):
            setting, method = (
                small_setting(key, seed=seed, stream=ClassSplit(class_order=list(range(10))), passes=1),
                Rehearsal(),
            )
            run_here(setting, method)
            return next(iter(next(setting.phases()).train)).x, next(method.network.parameters())

        (x, weights), (other_x, other_weights) = first_batch_and_weights(0), first_batch_and_weights(1)
        assert not torch.equal(x, other_x)
        assert not torch.equal(weights, other_weights)


CASES = {
    "class_incremental": {},
    "continual": {},
    "task_agnostic": {"transition": "blurry"},
    "domain_incremental": {},
    "task_incremental": {"stream": "permuted"},
    "cumulative": {"validation": 0.1},
    "traditional": {},
    "online_class_incremental": {"batch_size": 7},
}


def run_fixed_rule(key, workers, options):
    return run_here(small_setting(key, workers=workers, **options), FixedRule())


class TestWorkers:
    @pytest.mark.parametrize(("key", "options"), CASES.items(), ids=CASES)
    def test_one_and_two_workers_give_a_fixed_rule_the_same_results(self, two_workers, key, options):
        alone = run_fixed_rule(key, 1, options)
        for together in two_workers.run(run_fixed_rule, key, 2, options):
            assert together.accuracy_matrix == alone.accuracy_matrix
            assert together.untrained_accuracy == alone.untrained_accuracy
            assert together.cost.training_samples == alone.cost.training_samples
            assert together.online_curve[-1][0] == alone.online_curve[-1][0]
            assert together.metrics["online_accuracy"] == pytest.approx(alone.metrics["online_accuracy"], abs=1e-12)
        assert 0 < alone.metrics["online_accuracy"] < 1

    def test_two_workers_are_as_deterministic_as_one(self, two_workers):
        outcomes = [two_workers.run(run_rehearsal, "class_incremental")[0] for _ in range(2)]
        assert comparable(outcomes[0]) == comparable(outcomes[1])


def run_rehearsal(key):
    return run_here(small_setting(key, workers=2), Rehearsal())

"""What is said of the runs of a pair."""

from dataclasses import replace

import pytest

from redwood.engine.pair_results import PairResults, repeats_of
from redwood.settings.scores.results import Results


def run(seed, order=None):
    config = {} if order is None else {"class_order_seed": order}
    return Results(
        setting="s", method="m", dataset="d", seed=seed, num_phases=1, accuracy_matrix=[[1.0]], config=config
    )


def test_metrics_are_means_over_the_runs():
    other = replace(run(1), accuracy_matrix=[[0.5]])
    metrics = PairResults("s", "m", [run(0), other]).metrics
    assert metrics["average_accuracy"] == pytest.approx(0.75) and metrics["online_accuracy"] is None
    assert metrics.keys() == run(0).metrics.keys() and PairResults("s", "m").metrics == {}


def test_a_pair_is_a_container_of_its_runs():
    pair = PairResults("s", "m", [run(0), run(1)])
    assert len(pair) == 2 and [one.seed for one in pair] == [0, 1] and pair[-1] is pair.results[1]
    assert len(PairResults("s", "m")) == 0 and PairResults("s", "m", failure="why"), "a failed pair is no empty value"


def test_how_often_runs_were_repeated():
    assert repeats_of([run(0)]) == "1 seed"
    assert repeats_of([run(0), run(1)]) == "2 seeds"
    assert repeats_of([run(0, 0), run(1, 1), run(2, 2)]) == "3 class orders"
    assert (
        repeats_of([run(seed, order) for order in (4, 5) for seed in (0, 1, 2)]) == "2 class orders with 3 seeds each"
    )

"""What is said of the runs of a pair."""

from redwood.engine.pair_results import repeats_of
from redwood.settings.scores.results import Results


def run(seed, order=None):
    config = {} if order is None else {"class_order_seed": order}
    return Results(
        setting="s", method="m", dataset="d", seed=seed, num_phases=1, accuracy_matrix=[[1.0]], config=config
    )


def test_how_often_runs_were_repeated():
    assert repeats_of([run(0)]) == "1 seed"
    assert repeats_of([run(0), run(1)]) == "2 seeds"
    assert repeats_of([run(0, 0), run(1, 1), run(2, 2)]) == "3 class orders"
    assert (
        repeats_of([run(seed, order) for order in (4, 5) for seed in (0, 1, 2)]) == "2 class orders with 3 seeds each"
    )

import csv
import math
from dataclasses import replace

import pytest

from redwood.engine.pair_results import PairResults
from redwood.experiments.report.comparison_tables import write_comparison
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.results import RegressionResults, Results


def run(value, seconds, kind=Results, seed=0):
    cost = Cost(
        wall_time_s=seconds, samples_per_s=10, training_flops=1e9, parameters=7, peak_memory_bytes=4, buffer_bytes=5
    )
    return kind(setting="s", method="m", dataset="d", seed=seed, num_phases=1, accuracy_matrix=[[value]], cost=cost)


def written(rows, path):
    write_comparison(rows, path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_costs(tmp_path):
    rows = [
        PairResults(
            "class_incremental",
            "ewc+rehearsal",
            [run(0.2, 1), run(0.4, 3, seed=1)],
            failure='seed 2: "it" failed,\nor so',
        ),
        PairResults("continual", "ewc", failure="no"),
    ]
    first, second = written(rows, tmp_path / "comparison.csv")
    assert (first["method"], first["seeds"], first["failure"]) == ("ewc+rehearsal", "2", 'seed 2: "it" failed,\nor so')
    expected = {
        "average_accuracy": 0.3,
        "average_accuracy_std": 0.02**0.5,
        "wall_time_s": 2,
        "wall_time_s_std": 2**0.5,
        "samples_per_s": 10,
        "samples_per_s_std": 0,
        "training_flops": 1e9,
        "parameters": 7,
        "peak_memory_bytes": 4,
        "buffer_bytes": 5,
    }
    assert {name: float(first[name]) for name in expected} == pytest.approx(expected)
    assert second == dict.fromkeys(first, "") | {
        "setting": "continual",
        "method": "ewc",
        "seeds": "0",
        "failure": "no",
    }


def test_errors_have_their_own_names(tmp_path):
    (row,) = written([PairResults("continual", "ewc", [run(12.5, 1, RegressionResults)])], tmp_path / "comparison.csv")
    assert row["average_rmse"] == "12.5" and "average_accuracy" not in row


def test_flops_by_use_and_the_pareto_front(tmp_path):
    flops = {"training": [1e9, 0.0], "validation": [1e8, 1e8], "selection": [3e8, 0.0], "search": [0.0, 8.5e9]}
    searching = replace(run(0.75, 1), cost=Cost(training_flops=9.5e9, flops=flops))
    rows = [
        PairResults("continual", "search", [searching]),
        PairResults("continual", "plain", [run(0.5, 1), run(0.5, 1)]),
        PairResults("continual", "worse", [replace(run(0.25, 1), cost=Cost(training_flops=1e10))]),
        PairResults("online_continual", "worse", [run(0.25, 1)]),
    ]
    search, plain, worse, alone = written(rows, tmp_path / "comparison.csv")
    names = [f"flops_{use}" for use in (*USES, "total")]
    assert [float(search[name]) for name in names] == [1e9, 2e8, 3e8, 8.5e9, 1e10]
    assert [float(plain[name]) for name in names] == [1e9, 0, 0, 0, 1e9]
    assert [row["pareto"] for row in (search, plain, worse, alone)] == ["1", "1", "0", "1"]
    assert float(search["hypervolume"]) == float(worse["hypervolume"]) == pytest.approx(1 * 0.5)
    assert float(alone["hypervolume"]) == 0
    assert "transfer_to_last" not in search


def test_the_front_counts_what_a_sweep_has_cost(tmp_path):
    """As NEVIS: a method of 1 GFLOP that took 30 to tune is no better than another of 5, and adds nothing."""
    tuning = {"trials": 30, "flops": 3e10, "seconds": 1.0}
    rows = [
        PairResults("continual", "tuned", [replace(run(0.5, 1), cost=Cost(training_flops=1e9, tuning=tuning))] * 2),
        PairResults("continual", "plain", [replace(run(0.5, 1), cost=Cost(training_flops=5e9))]),
    ]
    tuned, plain = written(rows, tmp_path / "comparison.csv")
    assert (tuned["flops_total"], tuned["pareto"], plain["pareto"]) == ("1000000000.0", "0", "1")
    assert float(plain["hypervolume"]) == pytest.approx(0.5 * math.log10(31 / 5))


def test_no_hypervolume_without_flops(tmp_path):
    (row,) = written([PairResults("continual", "random", [replace(run(0.5, 1), cost=Cost())])], tmp_path / "c.csv")
    assert (row["flops_total"], row["pareto"], row["hypervolume"]) == ("0.0", "1", "")


def test_transfer_to_the_last_task_is_paired_by_seed(tmp_path):
    def of(*values):
        return [replace(run(value, 1), seed=seed) for seed, value in values]

    rows = [
        PairResults("continual", "independent", of((0, 0.5), (1, 0.7))),
        PairResults("continual", "mntdp", of((1, 0.8), (0, 0.9))),
        PairResults("continual", "ewc", of((2, 0.8)), failure="seed 0: no"),
    ]
    independent, mntdp, ewc = written(rows, tmp_path / "comparison.csv")
    assert float(independent["transfer_to_last"]) == 0
    assert float(mntdp["transfer_to_last"]) == pytest.approx((0.4 + 0.1) / 2)
    assert float(mntdp["transfer_to_last_std"]) == pytest.approx(0.3 / 2**0.5)
    assert ewc["transfer_to_last"] == ewc["transfer_to_last_std"] == ""
    errors = [
        PairResults(pair.setting, pair.method, [run(one.accuracy_matrix[0][0], 1, RegressionResults)])
        for pair in rows[:2]
        for one in pair.results[:1]
    ]
    assert float(written(errors, tmp_path / "errors.csv")[1]["transfer_to_last"]) == pytest.approx(0.5 - 0.8)


def test_nothing_but_failures(tmp_path):
    (row,) = written([PairResults("continual", "ewc", failure="no")], tmp_path / "comparison.csv")
    assert row["average_accuracy"] == row["wall_time_s"] == ""

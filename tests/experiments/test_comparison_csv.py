import csv

import pytest

from redwood.experiments.comparison_tables import write_comparison
from redwood.runs.pair_results import PairResults
from redwood.settings.results import Cost, RegressionResults, Results


def run(value, seconds, kind=Results):
    cost = Cost(
        wall_time_s=seconds, samples_per_s=10, training_flops=1e9, parameters=7, peak_memory_bytes=4, buffer_bytes=5
    )
    return kind(setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[value]], cost=cost)


def written(rows, path):
    write_comparison(rows, path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_costs(tmp_path):
    rows = [
        PairResults(
            "class_incremental", "ewc+rehearsal", [run(0.2, 1), run(0.4, 3)], failure='seed 2: "it" failed,\nor so'
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


def test_nothing_but_failures(tmp_path):
    (row,) = written([PairResults("continual", "ewc", failure="no")], tmp_path / "comparison.csv")
    assert row["average_accuracy"] == row["wall_time_s"] == ""

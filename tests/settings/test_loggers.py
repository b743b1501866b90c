import csv

import pytest

from redwood.settings.loggers import CSVMetrics
from redwood.settings.run import Position


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def written(path):
    """Three rows: a loss, the end of phase 0, a loss of phase 1."""
    metrics = CSVMetrics(path, None)
    metrics.log_metrics({"loss": 0.5}, step=50)
    metrics.log_metrics({"phase": 0, "average_accuracy": 0.9}, step=60)
    metrics.log_metrics({"loss": 0.25}, step=100)
    metrics.save()
    return metrics


class TestCSVMetrics:
    def test_a_row_for_each_call_with_the_columns_of_all(self, path):
        written(path)
        assert rows(path) == [
            {"step": "50", "loss": "0.5", "phase": "", "average_accuracy": ""},
            {"step": "60", "loss": "", "phase": "0", "average_accuracy": "0.9"},
            {"step": "100", "loss": "0.25", "phase": "", "average_accuracy": ""},
        ]

    def test_a_new_run_starts_empty(self, path):
        written(path)
        CSVMetrics(path, None).save()
        assert rows(path) == []

    @pytest.mark.parametrize(
        ("position", "kept"),
        [
            (Position(step=0, phase=0), 0),
            (Position(60, 0), 1),
            (Position(60, 1), 2),
            (Position(99, 1), 2),
            (Position(100, 1), 3),
        ],
    )
    def test_a_resumed_run_keeps_what_it_will_not_log_again(self, path, position, kept):
        written(path)
        before = rows(path)
        resumed = CSVMetrics(path, position)
        resumed.log_metrics({"loss": 0.125}, step=150)
        resumed.save()
        after = [{name: value for name, value in row.items() if value} for row in rows(path)]
        assert after == [{name: value for name, value in row.items() if value} for row in before[:kept]] + [
            {"step": "150", "loss": "0.125"}
        ]

    def test_saving_twice_writes_nothing_twice(self, path):
        metrics = written(path)
        before = path.read_text()
        metrics.save()
        assert path.read_text() == before

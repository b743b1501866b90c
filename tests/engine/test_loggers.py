import csv
import threading
import time
import warnings

import pytest

from redwood.engine.loggers import CSVMetrics, OutsideLogger


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

    def test_a_row_is_made_into_text_again_only_if_a_column_joins(self, path, monkeypatch):
        made, text_of = [], CSVMetrics._text_of
        monkeypatch.setattr(CSVMetrics, "_text_of", lambda self, row: made.append(row["step"]) or text_of(self, row))
        metrics = CSVMetrics(path)
        for step in range(10):
            metrics.log_metrics({"loss": step}, step=step)
            metrics.save()
        assert made.count("step") == 10 and [step for step in made if step != "step"] == list(range(10))
        metrics.log_metrics({"phase": 0}, step=10)
        assert metrics.text().count("\r\n") == 12
        assert made[-11:] == list(range(11))
        assert rows(path) == [{"step": str(step), "loss": str(step)} for step in range(10)]

    def test_a_new_run_starts_empty(self, path):
        written(path)
        CSVMetrics(path).save()
        assert rows(path) == []

    def test_a_resumed_run_goes_on_from_what_its_checkpoint_holds(self, path):
        metrics = written(path)
        logged = metrics.text()
        metrics.log_metrics({"loss": 0.1}, step=130)  # after the checkpoint: it will be logged again
        metrics.save()
        before = rows(path)
        resumed = CSVMetrics(path, logged)
        resumed.log_metrics({"loss": 0.125}, step=150)
        resumed.save()
        assert rows(path)[:-1] == before[:3] and rows(path)[-1]["loss"] == "0.125"

    def test_the_file_itself_is_not_read(self, path):
        path.write_bytes(b"\x00 of no interest")
        CSVMetrics(path, "step,loss\r\n50,0.5\r\n").save()
        assert path.read_text() == "step,loss\n50,0.5\n"

    def test_saving_twice_writes_nothing_twice(self, path):
        metrics = written(path)
        before = path.read_text()
        metrics.save()
        assert path.read_text() == before


class Outside:
    """A logger that takes a row, and then fails or hangs."""

    def __init__(self, trouble):
        self.trouble, self.rows, self.calls, self.abandoned = trouble, [], 0, False

    def log_metrics(self, metrics, step):
        self.calls += 1
        if self.rows:
            self.trouble()
        self.rows.append((step, metrics))

    def save(self):
        self.calls += 1

    log_results = close = save

    def abandon(self):
        self.abandoned = True


def fail():
    raise ConnectionResetError("Connection lost. Try later.")


class TestOutsideLogger:
    @pytest.mark.parametrize(
        ("trouble", "reason"), [(fail, "Connection lost; Try later"), (threading.Event().wait, "no answer in 0.05 s")]
    )
    def test_the_run_goes_on_without_it(self, trouble, reason):
        outside = Outside(trouble)
        logger = OutsideLogger("Somewhere", outside, limit_s=0.05)
        logger.log_metrics({"loss": 1.0}, 1)
        with pytest.warns(UserWarning, match=rf"^Somewhere is lost \({reason}\); the run goes on without it, and"):
            logger.log_metrics({"loss": 2.0}, 2)
        logger.log_metrics({"loss": 3.0}, 3)
        logger.save()
        logger.log_results(None, None)
        logger.close(False)
        assert outside.rows == [(1, {"loss": 1.0})] and outside.calls == 2 and outside.abandoned

    def test_the_last_calls_have_more_time(self):
        slow = Outside(fail)
        slow.close = lambda failed: time.sleep(0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            OutsideLogger("Somewhere", slow, limit_s=0.01, last_s=30.0).close(False)

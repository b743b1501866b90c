"""A monthly table: the months to come extend a run on the months before."""

import re

import numpy as np
import pandas as pd
import pytest

import redwood
from redwood.cli import main
from redwood.settings.scores.results import Results
from tests.methods.helpers import one_sentence

COLUMNS = ["--time_column", "date", "--period", "month"]


def table(months, seed=0):
    random = np.random.default_rng(seed)
    date = pd.date_range(months[0], months[-1], freq="6h")
    frame = pd.DataFrame({"date": date, "a": random.normal(size=len(date)), "b": random.normal(size=len(date))})
    frame["shop"] = random.choice(["north", "south"], len(date))
    return frame.assign(label=np.where(frame.a + frame.b > 0, "up", "down"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("months")
    table(["2024-01-01", "2024-02-28"]).to_csv(folder / "first.csv", index=False)
    options = ["--dataset", str(folder / "first.csv"), *COLUMNS, "--run_dir", str(folder / "run"), "--quiet"]
    assert main(["--setting", "online_domain_incremental", "--method", "slda", "--accelerator", "cpu", *options]) == 0
    return folder / "run"


def test_later_months_come_behind_with_columns_in_any_order(run, tmp_path):
    later = table(["2024-03-01", "2024-03-30"], seed=1)
    later[["shop", "label", "b", "date", "a"]].to_csv(tmp_path / "later.csv", index=False)
    options = ["--dataset", str(tmp_path / "later.csv"), "--run_dir", str(tmp_path / "new"), "--quiet"]
    assert main(["extend", str(run), *options]) == 0
    results = Results.load(tmp_path / "new" / "results.json")
    assert results.task_names == ["2024-01", "2024-02", "2024-03"] and results.class_names == ["down", "up"]
    assert len(results.accuracy_matrix) == 3 and results.accuracy_matrix[-1][-1] > 0.8


def test_a_data_frame_has_the_columns_of_the_run_unless_others_are_named(run, tmp_path):
    model, later = redwood.load(run, device="cpu"), table(["2024-03-01", "2024-03-30"], seed=1)
    assert model.learn(later, run_dir=tmp_path / "march", quiet=True).task_names[-1] == "2024-03"
    april = table(["2024-04-01", "2024-04-30"]).rename(columns={"date": "day", "label": "trend"})
    results = model.learn(april, target_column="trend", time_column="day", run_dir=tmp_path / "april", quiet=True)
    assert results.task_names[-1] == "2024-04"


def test_predictions_are_scored_by_month(run, tmp_path, capsys):
    table(["2024-03-01", "2024-04-30"], seed=1).to_csv(tmp_path / "later.csv", index=False)
    options = ["--dataset", str(tmp_path / "later.csv"), "--out", str(tmp_path / "out.csv")]
    assert main(["predict", str(run), *options]) == 0
    said = capsys.readouterr().out
    assert re.search(r", accuracy .* %\n  2024-03: accuracy .* % of 124\n  2024-04: accuracy .* % of 117\n", said)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"shop": "west"}, "the column shop holds 'west', which the data of the run did not"),
        ({"c": 1.0}, "has a column c, unlike the data of the run"),
    ],
)
def test_other_features_are_refused(run, tmp_path, capsys, columns, sentence):
    table(["2024-03-01", "2024-03-30"]).assign(**columns).to_csv(tmp_path / "other.csv", index=False)
    assert main(["extend", str(run), "--dataset", str(tmp_path / "other.csv"), "--run_dir", str(tmp_path / "n")]) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said and one_sentence(said.removeprefix("error: "))

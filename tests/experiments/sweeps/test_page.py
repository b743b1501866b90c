"""Sweeps in a report."""

import json

import pytest

from redwood.core.errors import RedwoodError
from redwood.experiments.report.content import content_of
from redwood.experiments.reporting import read_source
from tests.experiments.report.made import made_comparison, made_sweep


def test_trials_and_the_best_configuration(tmp_path):
    folder = made_sweep(tmp_path / "sweep")
    made_comparison(folder / "best", ["s"], ["m"], 2)
    source = read_source(folder)
    assert (source.kind, len(source.runs)) == ("sweep", 2)
    assert source.command == (
        "python cli.py sweep lr=log:1e-3..1 policy=a,b --setting s --method m "
        "--trials 5 --protocol all_tasks --objectives accuracy,flops --seeds 2 --passes 1"
    )
    (part,) = [part for part in content_of([source]).parts if part.title == "Tuning"]
    trials, importance = part.tables
    shown = [[cell.text for cell in line] for line in trials.lines]
    assert trials.columns == ["trial", "accuracy (%)", "lr", "policy", "FLOPs", "time"]
    assert shown[0] == ["1", "60.0", "0.01", "b", "1.10 G", "1.5 s"] and trials.lines[0][1].style == "best"
    assert [line[1] for line in shown[1:]] == ["50.0", "50.0", "ended early", "failed no room"]
    assert [cell.text for cell in importance.lines[0]] == ["lr", "75%", "100%"]
    assert "3 complete, 1 ended early, 1 failed" in part.lead and "7.5 s and 6.00 GFLOPs" in part.lead


def test_a_sweep_whose_best_has_not_run(tmp_path):
    results, *_ = content_of([read_source(made_sweep(tmp_path / "sweep"))]).parts
    assert [cell.text for cell in results.tables[0].lines[0]] == ["m", "not run yet"]


def test_what_cannot_be_read(tmp_path):
    folder = made_sweep(tmp_path / "sweep")
    path = folder / "sweep.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trials": "many"}))
    with pytest.raises(RedwoodError, match=r"sweep\.json"):
        read_source(folder)
    path.unlink()
    (folder / "sweep.yaml").write_text("sweep: 1")
    with pytest.raises(RedwoodError, match="this sweep is not over yet"):
        read_source(folder)

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
    content = content_of([source])
    (sweep,) = content["sweeps"]
    assert (sweep["best"], sweep["pareto_front"]) == (1, [1, 0])
    assert sweep["trials"][3]["state"] == "pruned"
    assert sweep["importances"]["accuracy"] == {"lr": 0.75, "policy": 0.25}
    assert len(content["pairs"][0]["seeds"]) == 2


def test_a_sweep_whose_best_has_not_run(tmp_path):
    content = content_of([read_source(made_sweep(tmp_path / "sweep"))])
    assert len(content["pairs"]) == 1 and "objective" not in content["pairs"][0]


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

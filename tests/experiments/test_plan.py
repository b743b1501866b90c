import os

import pytest
import yaml

from redwood.core.errors import RedwoodError
from redwood.experiments.options import parse_options
from redwood.experiments.pairs import Pair
from redwood.experiments.plan import ComparisonPlan, is_comparison

MINE = "from redwood.methods.baselines import Random\nclass Mine(Random):\n    pass\n"


def folders(plan):
    return [[job.folder.name for job in group] for group in plan.jobs([parse_options(p, []) for p in plan.pairs])]


def test_a_file_keeps_it(tmp_path):
    plan = ComparisonPlan.of(tmp_path / "new", [Pair("continual", "random")], ["--seed", "3", "--name=-x"], 2)
    assert not is_comparison(plan.folder)
    plan.save()
    assert is_comparison(plan.folder)
    assert ComparisonPlan.load(plan.folder) == plan


def test_methods_by_path_are_found_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    (pair,) = ComparisonPlan.of(tmp_path, [Pair("continual", "mine.py:Mine")], [], 1).pairs
    monkeypatch.chdir(os.sep)
    assert pair == Pair("continual", f"{tmp_path}/mine.py:Mine")
    assert pair.load()[1].__name__ == "Mine"


def test_folder_of_each_run(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(MINE)
    pairs = [Pair("continual", name) for name in ("random", f"{tmp_path}/one.py:Mine", f"{tmp_path}/two.py:Mine")]
    pairs.append(Pair("class_incremental", "ewc+rehearsal"))
    assert folders(ComparisonPlan.of(tmp_path, pairs, [], 1)) == [
        ["continual-random"],
        ["continual-Mine-1"],
        ["continual-Mine-2"],
        ["class_incremental-ewc+rehearsal"],
    ]
    (seeds,) = folders(ComparisonPlan.of(tmp_path, pairs[:1], [], 3))
    assert seeds == [f"continual-random-seed{seed}" for seed in range(3)]


def test_seeds_and_widths(tmp_path):
    pair = Pair("distributed_class_incremental", "random")
    plan = ComparisonPlan.of(tmp_path, [pair, pair], [], 2)
    options = parse_options(pair, ["--seed", "5", "--threads", "2", "--accelerator", "cpu"])
    first, left_out = plan.jobs([options, RedwoodError("no")])
    assert [(job.seed, job.width) for job in first] == [(5, 4), (6, 4)]
    assert left_out == []


@pytest.mark.parametrize("content", ["", "pairs: [", "comparison: 1\npairs: [3]\n", "comparison: 1\npairs: []\n"])
def test_damage(content, tmp_path):
    (tmp_path / "comparison.yaml").write_text(content)
    with pytest.raises(RedwoodError, match="is damaged"):
        ComparisonPlan.load(tmp_path)


def test_another_version(tmp_path):
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump({"comparison": 99}))
    with pytest.raises(RedwoodError, match="another version"):
        ComparisonPlan.load(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RedwoodError, match="cannot be written"):
        ComparisonPlan(tmp_path / "file" / "new", [], [], 1).save()

import os
from pathlib import Path

import pytest
import yaml

from redwood.core.checks import LARGEST_SEED
from redwood.core.errors import RedwoodError
from redwood.experiments.command_line.arguments import MOST_RUNS, UsageError
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.plan import ComparisonPlan, is_comparison

MINE = "from redwood.methods.baselines import Random\nclass Mine(Random):\n    pass\n"


def folders(plan):
    return [[job.folder.name for job in group] for group in plan.jobs([parse_options(p, []) for p in plan.pairs])]


def test_a_file_keeps_it(tmp_path):
    pairs = [Pair("continual", "random")]
    plan = ComparisonPlan.of(tmp_path / "new", pairs, ["--seed", "3", "--name=-x"], 2, at_once=3)
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


class TestClassOrders:
    PAIRS = (Pair("class_incremental", "random"), Pair("osaka", "random"))

    def test_each_order_has_seeds_of_its_own_where_there_are_classes(self, tmp_path):
        plan = ComparisonPlan.of(tmp_path, list(self.PAIRS), ["--lr", "3"], 2, 3)
        parsed = [parse_options(pair, []) for pair in plan.pairs]
        first, second = plan.jobs(parsed)
        assert [job.folder.name.removeprefix("class_incremental-random-") for job in first] == [
            *("seed0-order0", "seed1-order0", "seed2-order1", "seed3-order1", "seed4-order2", "seed5-order2")
        ]
        assert first[3].arguments == ("--lr", "3", "--class_order_seed", "1")
        assert first[3].label == "class_incremental / random, seed 3, class order 1"
        assert [job.folder.name for job in second] == ["osaka-random-seed0", "osaka-random-seed1"]

    def test_one_order_for_all_seeds(self, tmp_path):
        plan = ComparisonPlan.of(tmp_path, [self.PAIRS[0]], [], 2, 1)
        ((first, second),) = plan.jobs([parse_options(self.PAIRS[0], [])])
        assert (first.seed, second.seed) == (0, 1)
        assert first.arguments == second.arguments == ("--class_order_seed", "0")

    def test_a_file_keeps_them(self, tmp_path):
        plan = ComparisonPlan.of(tmp_path, [self.PAIRS[0]], [], 1, 2)
        plan.save()
        assert ComparisonPlan.load(tmp_path) == plan

    def test_older_files_have_none(self, tmp_path):
        content = {"comparison": 1, "pairs": [{"setting": "a", "method": "b"}], "arguments": [], "seeds": 2}
        (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(content))
        assert ComparisonPlan.load(tmp_path) == ComparisonPlan(tmp_path, [Pair("a", "b")], [], 2, None)

    @pytest.mark.parametrize("option", ["--class_order", "--class_order_seed"])
    def test_an_order_that_is_given_as_well(self, tmp_path, option):
        with pytest.raises(RedwoodError, match=f"--class_orders 2 draws the order of the classes, and {option} sets"):
            ComparisonPlan.of(tmp_path, [self.PAIRS[0]], [option, "1"], 1, 2)

    def test_no_setting_has_classes(self, tmp_path):
        sentence = "--class_orders 2 needs tasks that are made of classes, unlike those of osaka"
        with pytest.raises(RedwoodError, match=sentence):
            ComparisonPlan.of(tmp_path, [self.PAIRS[1]], [], 1, 2)


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


class TestSize:
    def plan(self, n_seeds, n_orders=None):
        return ComparisonPlan(Path("new"), [Pair("class_incremental", "random")] * 2, [], n_seeds, n_orders)

    def test_all_seeds_have_32_bits(self):
        self.plan(3).refuse_too_many(LARGEST_SEED - 2)
        with pytest.raises(UsageError, match=r"--seeds 3 from --seed 4294967294 on need the seed 4294967296, and"):
            self.plan(3).refuse_too_many(LARGEST_SEED - 1)
        with pytest.raises(UsageError, match=r"--seeds 3 and --class_orders 2 from --seed 4294967291 on need"):
            self.plan(3, 2).refuse_too_many(LARGEST_SEED - 4)

    def test_of_all_pairs(self):
        self.plan(MOST_RUNS // 2).refuse_too_many(0)
        with pytest.raises(UsageError, match=r"^--seeds 1000 and --class_orders 51 make 102000 runs; ask for at most"):
            self.plan(1000, 51).refuse_too_many(0)

    def test_of_a_file(self, tmp_path):
        plan = self.plan(1)
        plan.folder = tmp_path
        plan.save()
        (tmp_path / "comparison.yaml").write_text(
            (tmp_path / "comparison.yaml").read_text().replace("seeds: 1", f"seeds: {10**9}")
        )
        with pytest.raises(RedwoodError, match="seeds has to be at least 1 and at most 100000, not 1000000000"):
            ComparisonPlan.load(tmp_path)

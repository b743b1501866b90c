"""Several pairs or several seeds: one table, and failures that do not stop the rest."""

import csv
import json

import numpy as np
import pytest

from redwood.cli import main
from redwood.engine.folder_lock import FolderLock
from redwood.experiments.comparisons import compare as comparison
from redwood.experiments.comparisons.comparison import Comparison
from redwood.experiments.launchers.plan import ComparisonPlan
from tests.cli.command import QUICK, RUN_FILES, assert_one_sentence, content

HERE = [*QUICK, "--jobs", "1"]
SETTINGS = ["osaka", "continual", "online_class_incremental", "class_incremental", "cumulative", "label_budget"]
SETTINGS += ["distributed_class_incremental", "federated_class_incremental"]
FAILING = """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune
from redwood.core.errors import RedwoodError

@dataclass
class Failing(Finetune):
    at: int = 1

    def on_task_start(self, task_id):
        if task_id == self.at:
            1 / 0

@dataclass
class Refusing(Finetune):
    def on_task_start(self, task_id):
        raise RedwoodError("It does not want to.")
"""


def table(folder):
    with (folder / "comparison.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def final_accuracy(folder):
    return json.loads((folder / "results.json").read_text())["metrics"]["average_accuracy"]


class TestPairs:
    @pytest.fixture(scope="class")
    @classmethod
    def compared(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("runs") / "compared"
        code = main(
            [
                "--setting",
                "class_incremental,online_task_incremental",
                "--method",
                "finetune,ewc,finetune",
                "--nb_tasks",
                "2",
                "--ewc_lambda",
                "7",
                "--run_dir",
                str(folder),
                "--quiet",
                "--jobs",
                "1",
                "--accelerator",
                "cpu",
                "--batch_size",
                "512",
                "--seed",
                "4",
            ]
        )
        return code, folder

    def test_every_pair_once(self, compared):
        code, folder = compared
        assert code == 0
        names = {
            f"{setting}-{method}"
            for setting in ("class_incremental", "online_task_incremental")
            for method in ("finetune", "ewc")
        }
        pictures = ("comparison", "comparison_class_incremental", "comparison_online_task_incremental")
        assert {path.name for path in folder.iterdir()} == names | {
            "comparison.yaml",
            "comparison.csv",
            "report.html",
            *(f"{name}.{kind}" for name in pictures for kind in ("png", "svg")),
        }
        for name in names:
            assert {path.name for path in (folder / name).iterdir()} == RUN_FILES

    def test_table(self, compared):
        _, folder = compared
        rows = table(folder)
        assert len(rows) == 4
        for row in rows:
            assert float(row["average_accuracy"]) == final_accuracy(folder / f"{row['setting']}-{row['method']}")
            assert (row["seeds"], row["failure"]) == ("1", "")

    def test_each_pair_gets_the_options_that_it_has(self, compared):
        _, folder = compared
        for name, expected in (("ewc", 7.0), ("finetune", None)):
            results = json.loads((folder / f"class_incremental-{name}" / "results.json").read_text())
            assert results["config"].get("ewc_lambda") == expected
            assert (results["config"]["seed"], results["config"]["passes"]) == (4, 20)
        online = json.loads((folder / "online_task_incremental-ewc" / "results.json").read_text())
        assert online["config"]["passes"] == 1

    def test_a_pair_of_the_comparison_is_the_run_on_its_own(self, compared, tmp_path):
        _, folder = compared
        alone, among = tmp_path / "alone", folder / "online_task_incremental-ewc"
        assert main(["--config", str(among / "config.yaml"), "--run_dir", str(alone), "--quiet"]) == 0
        assert (alone / "metrics.csv").read_bytes() == (among / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_what_does_not_apply_is_left_out(tmp_path, capsys):
    folder = tmp_path / "compared"
    assert main(["--setting", "cumulative,continual", "--method", "joint,random", *HERE, "--run_dir", str(folder)]) == 0
    assert [(row["setting"], row["method"]) for row in table(folder)] == [
        ("cumulative", "joint"),
        ("cumulative", "random"),
        ("continual", "random"),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "left out: Joint targets CumulativeSetting (--setting cumulative) and the settings below it; ContinualSetting "
        "is not one of them."
    )
    assert [line for line in lines if ", seed 0" in line] == [
        "cumulative / joint, seed 0",
        "cumulative / random, seed 0",
        "continual / random, seed 0",
    ]
    assert lines[-1] == f"written to {folder}"


@pytest.mark.parametrize(
    ("options", "pinned"),
    [
        (["--passes", "2"], {"osaka", "online_class_incremental", "label_budget", "federated_class_incremental"}),
        (["--workers", "1"], {"distributed_class_incremental"}),
        (["--transition", "gradual"], set(SETTINGS) - {"continual"}),
        (["--transition", "blurry"], {"osaka", "cumulative"}),
    ],
)
@pytest.mark.few(1)
def test_settings_that_pin_an_option_are_left_out(tmp_path, capsys, monkeypatch, options, pinned):
    """They are not started, and have not failed; each is told once."""
    started = []
    monkeypatch.setattr(comparison, "_carry_out", lambda plan, *more: started.extend(plan.pairs) or Comparison([]))
    folder = tmp_path / "compared"
    chosen = ["--setting", ",".join(SETTINGS), "--method", "random,finetune", "--run_dir", str(folder)]
    assert main([*chosen, *options]) == 0
    assert [pair.setting for pair in started[::2]] == [name for name in SETTINGS if name not in pinned]
    left_out = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == len(set(left_out)) == len(pinned)
    assert ComparisonPlan.load(folder).pairs == started


class TestData:
    """Whether a method applies may depend on what there is to predict."""

    ARGUMENTS = ("--dataset", "drift_regression:abrupt", "--passes", "1", "--accelerator", "cpu", "--jobs", "1")

    @pytest.mark.slow
    def test_pairs_that_it_does_not_suit_are_left_out(self, tmp_path):
        folder = tmp_path / "compared"
        pairs = ["--setting", "domain_incremental,class_incremental", "--method", "random,ncm"]
        assert main([*pairs, *self.ARGUMENTS, "--run_dir", str(folder)]) == 0
        assert [(row["setting"], row["method"]) for row in table(folder)] == [("domain_incremental", "random")]

    def test_all_of_them(self, tmp_path, capsys):
        pairs = ["--setting", "domain_incremental,class_incremental", "--method", "ncm"]
        assert main([*pairs, *self.ARGUMENTS, "--run_dir", str(tmp_path / "compared")]) == 2
        assert "ncm predicts classes, but the targets of" in capsys.readouterr().err


class TestFailures:
    def test_are_reported_and_the_rest_goes_on(self, tmp_path, capsys):
        """One fails with a mistake in its code, one with a sentence, one cannot have an option; the last is fine."""
        (tmp_path / "bad.py").write_text(FAILING)
        folder = tmp_path / "compared"
        methods = [f"{tmp_path}/bad.py:Failing", f"{tmp_path}/bad.py:Refusing", "ewc", "finetune"]
        arguments = ["--setting", "class_incremental", "--method", ",".join(methods), *HERE, "--run_dir", str(folder)]
        assert main([*arguments, "--ewc_lambda", "-1"]) == 1
        reasons = {row["method"].rpartition(":")[2]: row["failure"] for row in table(folder)}
        assert reasons == {
            "Failing": "ZeroDivisionError: division by zero",
            "Refusing": "It does not want to.",
            "ewc": "--ewc_lambda -1.0 has to be at least 0.",
            "finetune": "",
        }
        assert {path.name for path in folder.iterdir() if path.is_dir()} == {
            "class_incremental-Failing",
            "class_incremental-Refusing",
            "class_incremental-finetune",
        }
        assert {path.name for path in (folder / "class_incremental-finetune").iterdir()} == RUN_FILES
        assert not (folder / "class_incremental-Failing" / "results.json").exists()
        out, err = capsys.readouterr()
        assert "failed" in out and "It does not want to." in out
        log = folder / "class_incremental-Failing" / "log.txt"
        assert all("in on_task_start" in text for text in (err, log.read_text())), "a mistake needs its traceback"
        assert f"class_incremental / Failing, seed 0 failed: what it printed is in {log}\n" in out
        assert str(tmp_path / "bad.py") not in out, "the table has the names of classes"
        assert out.index("ewc, left out: --ewc_lambda -1.0") < out.index("Failing, seed 0"), (
            "it is said before the hours"
        )

    def test_all_in_the_same_way(self, tmp_path, capsys, monkeypatch):
        """The others are not begun; those that went on with other methods are."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(comparison, "_HOPELESS", 4)
        np.savez("bad.npz", x=np.zeros((18, 2)), y=np.arange(18) % 3 - 1)
        arguments = ["--setting", "class_incremental", "--method", "random,finetune", "--jobs", "1", "--run_dir", "all"]
        assert main([*arguments, "--dataset", "bad.npz", "--seeds", "3"]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("error: The first 4 of 6 runs failed for one reason (Data set bad: labels must not be")
        assert told.endswith("mend it, and go on with python cli.py resume all.")
        assert len(list((tmp_path / "all").glob("*/failure.json"))) == 4
        (tmp_path / "bad.py").write_text(FAILING)
        methods = f"{tmp_path}/bad.py:Failing,random"
        arguments = ["--setting", "class_incremental", "--method", methods, "--seeds", "3", *HERE, "--run_dir", "some"]
        assert main(arguments) == 1
        said = capsys.readouterr().out
        assert len(list((tmp_path / "some").glob("*/results.json"))) == 3
        assert (
            "3 runs failed for one reason (ZeroDivisionError: division by zero), first class_incremental / Fai" in said
        )

    def test_all_of_them(self, tmp_path, monkeypatch):
        """Without a run there is nothing to plot, but still a table."""
        monkeypatch.chdir(tmp_path)
        np.savez("bad.npz", x=np.zeros((18, 2)), y=np.arange(18) % 3 - 1)
        arguments = ["--setting", "class_incremental", "--method", "random,finetune", "--jobs", "1"]
        assert main([*arguments, "--dataset", "bad.npz"]) == 1
        (folder,) = (tmp_path / "runs").iterdir()
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        failures = {f"class_incremental-{method}/failure.json" for method in ("random", "finetune")}
        assert files == {"comparison.yaml", "comparison.csv", "report.html"} | failures
        assert all("labels must not be" in row["failure"] for row in table(folder))


def test_methods_of_one_name_from_two_files(tmp_path):
    """Each has a folder of its own."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from redwood.methods.baselines import Random\nclass Mine(Random):\n    pass\n"
        )
    folder = tmp_path / "compared"
    methods = ",".join(f"{tmp_path}/{name}.py:Mine" for name in ("one", "two"))
    arguments = ["--setting", "continual", "--method", methods, "--jobs", "1", "--quiet"]
    assert main([*arguments, "--run_dir", str(folder)]) == 0
    assert sum(path.is_dir() for path in folder.iterdir()) == 2


class TestSeeds:
    def test_mean_and_deviation(self, tmp_path, capsys):
        folder = tmp_path / "seeds"
        arguments = ["--setting", "class_incremental", "--method", "finetune", *HERE, "--seeds", "3", "--seed", "5"]
        assert main([*arguments, "--run_dir", str(folder)]) == 0
        names = [f"class_incremental-finetune-seed{seed}" for seed in (5, 6, 7)]
        values = [final_accuracy(folder / name) for name in names]
        assert len(set(values)) == 3
        (row,) = table(folder)
        assert float(row["average_accuracy"]) == pytest.approx(np.mean(values))
        assert float(row["average_accuracy_std"]) == pytest.approx(np.std(values, ddof=1))
        assert row["seeds"] == "3"
        shown = f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"
        assert shown in capsys.readouterr().out

    def test_one_of_them_is_the_run_of_that_seed(self, tmp_path):
        folder, alone = tmp_path / "seeds", tmp_path / "alone"
        arguments = ["--setting", "traditional", "--method", "finetune", "--passes", "1", "--quiet"]
        assert main([*arguments, "--seeds", "2", "--jobs", "1", "--run_dir", str(folder)]) == 0
        assert main([*arguments, "--seed", "1", "--run_dir", str(alone)]) == 0
        assert content(alone)["metrics.csv"] == content(folder / "traditional-finetune-seed1")["metrics.csv"]


def test_settings_under_which_an_option_decides_nothing_are_left_out():
    """Also if they have it from a parent."""
    from redwood.experiments.command_line.pairs import select_pairs

    keys = "class_incremental,osaka,acquisition,federated_class_incremental"
    pairs, reasons = select_pairs(keys, "finetune", ["--nb_tasks", "2"])
    assert [pair.setting for pair in pairs] == ["class_incremental", "federated_class_incremental"]
    assert reasons == ["osaka has no option --nb_tasks.", "acquisition has no option --nb_tasks."]
    assert [pair.setting for pair in select_pairs("osaka", "finetune", ["--nb_tasks", "2"])[0]] == ["osaka"]


class TestUpperBounds:
    """Joint training stands beside the methods of a setting, though it needs the data of all tasks."""

    @pytest.mark.parametrize(
        ("settings", "methods", "expected"),
        [
            ("class_incremental", "joint,random", [("cumulative", "joint", "class_incremental")]),
            (
                "task_incremental,domain_incremental",
                "random,joint",
                [
                    ("cumulative_task_incremental", "joint", "task_incremental"),
                    ("cumulative_domain_incremental", "joint", "domain_incremental"),
                ],
            ),
            ("class_incremental,cumulative", "joint,random", []),
            (
                "class_incremental,online_class_incremental",
                "packnet,joint,ewc",
                [("cumulative", "joint", "class_incremental")],
            ),
            (
                "class_incremental,task_incremental",
                "packnet,joint",
                [("cumulative_task_incremental", "joint", "task_incremental")],
            ),
            ("class_incremental", "random,pnn", []),
        ],
        ids=["beside", "two", "chosen itself", "no child", "nothing to bound", "no bound"],
    )
    def test_pairs(self, settings, methods, expected):
        from redwood.experiments.command_line.pairs import select_pairs

        pairs, reasons = select_pairs(settings, methods)
        assert [(pair.setting, pair.method, pair.bounds) for pair in pairs if pair.bounds is not None] == expected
        asked = len(settings.split(",")) * len(methods.split(","))
        assert len(pairs) + len(reasons) == asked

    def test_alone_it_is_refused(self, capsys):
        assert main(["--setting", "class_incremental", "--method", "joint"]) == 2
        assert "Joint targets CumulativeSetting" in capsys.readouterr().err

    def test_it_has_a_row_of_its_own_and_is_not_the_best(self, tmp_path, capsys):
        folder = tmp_path / "bounded"
        pairs = ["--setting", "class_incremental", "--method", "finetune,random,joint"]
        assert main([*pairs, *HERE, "--table", "markdown", "--run_dir", str(folder)]) == 0
        printed = capsys.readouterr().out
        assert "| joint (bound) |" in printed and "ran under cumulative" in printed
        rows = {row["method"]: row for row in csv.DictReader((folder / "comparison.csv").open())}
        assert {name: row["ran_under"] for name, row in rows.items()} == {
            "finetune": "",
            "random": "",
            "joint": "cumulative",
        }
        assert rows["joint"]["setting"] == "class_incremental"
        assert float(rows["joint"]["average_accuracy"]) > float(rows["finetune"]["average_accuracy"])
        assert rows["joint"]["significance"] == "" and rows["joint"]["pareto"] == "0"
        page = (folder / "report.html").read_text()
        assert "joint (bound)" in page and "--setting class_incremental --method finetune,random,joint" in page
        assert main(["resume", str(folder)]) == 0
        again = {row["method"]: row for row in csv.DictReader((folder / "comparison.csv").open())}
        assert again == rows


def test_all_is_every_pair_that_applies():
    """The pairs alone: running them all is for the slow tests of pairs."""
    from redwood.experiments.command_line.pairs import select_pairs
    from redwood.methods import METHODS, get_method
    from redwood.settings import SETTINGS, get_setting
    from redwood.settings.base import why_not_applicable

    settings = {name: get_setting(name) for name in SETTINGS}
    methods = {name: get_method(name) for name in METHODS}
    expected = [
        (setting, method)
        for setting in settings
        for method in methods
        if why_not_applicable(settings[setting], methods[method]) is None
    ]
    assert [(pair.setting, pair.method) for pair in select_pairs("all", "all")[0]] == expected
    assert 60 < len(expected) < len(SETTINGS) * len(METHODS)


class TestClassOrders:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("runs") / "orders"
        pairs = ["--setting", "class_incremental", "--method", "finetune,random"]
        assert main([*pairs, *HERE, "--class_orders", "2", "--run_dir", str(folder)]) == 0
        return folder

    def test_each_order_has_a_seed_of_its_own(self, folder):
        names = [f"class_incremental-finetune-order{order}" for order in range(2)]
        orders = [json.loads((folder / name / "results.json").read_text()) for name in names]
        assert [run["config"]["stream"]["auto"]["class_order_seed"] for run in orders] == [0, 1]
        assert [run["seed"] for run in orders] == [0, 1]
        assert [(row["seeds"], row["class_orders"]) for row in table(folder)] == [("2", "2")] * 2

    def test_a_table_of_a_finished_comparison(self, folder, capsys):
        assert main(["resume", str(folder), "--table", "latex"]) == 0
        written = (folder / "comparison.tex").read_text()
        assert "\\textbf" in written and "2 class orders" in written
        assert written in capsys.readouterr().out

    def test_a_second_process_is_refused(self, folder, capsys):
        other = FolderLock()
        other.acquire(folder)
        assert main(["resume", str(folder)]) == 2
        other.release()
        error = capsys.readouterr().err
        assert_one_sentence(error)
        assert "Another process is writing" in error

    def test_scores_on_held_out_samples_are_a_column(self, tmp_path, capsys):
        chosen = ["--table", "markdown:average_accuracy,average_validation_accuracy", "--validation", "0.2"]
        pairs = ["--setting", "class_incremental", "--method", "finetune,random"]
        assert main([*pairs, *HERE, *chosen, "--run_dir", str(tmp_path / "held_out")]) == 0
        assert "| method | Average accuracy (%) | Average validation accuracy (%) |" in capsys.readouterr().out

    def test_a_table_of_one_metric(self, folder, capsys):
        assert main(["resume", str(folder), "--table", "markdown:forgetting"]) == 0
        written = (folder / "comparison-forgetting.md").read_text()
        assert written.startswith("Forgetting (%) under class_incremental:\n\n")
        assert main(["resume", str(folder), "--table", "markdown:forgeting"]) == 2
        assert_one_sentence(capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--class_orders", "0"], "--class_orders: 0 has to be at least 1"),
            (["--class_orders", "2", "--class_order", *"0123456789"], "--class_orders 2 draws the order"),
            (
                ["--class_order", *"0123456789", "--class_order_seed", "1"],
                "--class_order_seed 1 draws the order",
            ),
            (["--class_order_seed", "-1"], "--class_order_seed -1 has to be at least 0"),
            (["--table", "latex"], "--table latex is for several runs"),
            (["--seeds", "2", "--table", "html"], "invalid choice: 'html'"),
            (["--seeds", "2", "--table", "latex:forgeting"], "did you mean forgetting?"),
            (["--seeds", "2", "--table", "latex:forgetting,"], "invalid choice: 'latex:forgetting,'"),
        ],
    )
    def test_bad_input(self, options, sentence, capsys, tmp_path):
        command = ["--setting", "class_incremental", "--method", "random", *QUICK, "--run_dir", str(tmp_path / "run")]
        assert main([*command, *options]) == 2
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

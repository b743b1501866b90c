"""`--stack_seeds true`: the results of single runs, and what the user is told of it."""

import json

import pytest

from redwood.cli import main
from tests.cli.command import QUICK, assert_one_sentence, start
from tests.cli.test_comparison import table
from tests.cli.test_comparison_resume import children_of, wait_for_the_end_of
from tests.cli.test_kill import wait_for

HERE = ["--setting", "class_incremental", *QUICK, "--jobs", "1"]
INTENTION = "class_incremental / finetune: the seeds are trained side by side, where networks and phases allow it"
OTHERS = "class_incremental / agem: each seed is run by itself: agem is not declared to be stackable"
FALL_BACK = "class_incremental / finetune: each seed is run by itself: a phase has "


def matrices(folder):
    """The accuracies of each run."""
    return {path.parent.name: json.loads(path.read_text())["accuracy_matrix"] for path in folder.glob("*/results.json")}


def told(capsys):
    """What was told of seeds side by side."""
    words = ("side by side", "by itself", "--stack_seeds")
    return [line for line in capsys.readouterr().out.splitlines() if any(word in line for word in words)]


class TestComparison:
    @pytest.fixture(scope="class")
    @classmethod
    def compared(cls, tmp_path_factory):
        """The same comparison with seeds side by side, and with single runs."""
        base = tmp_path_factory.mktemp("stacked")
        for value in ("true", "false"):
            arguments = [*HERE, "--method", "finetune,agem", "--seeds", "2", "--stack_seeds", value, "--quiet"]
            assert main([*arguments, "--run_dir", str(base / value)]) == 0
        return base

    def test_the_accuracies_are_those_of_single_runs(self, compared):
        found, wanted = matrices(compared / "true"), matrices(compared / "false")
        assert len(wanted) == 4
        assert found == wanted
        scores = [[row["average_accuracy"] for row in table(compared / value)] for value in ("true", "false")]
        assert scores[0] == scores[1]

    def test_nothing_is_told_of_a_complete_comparison(self, compared, capsys):
        assert main(["--resume", str(compared / "true"), "--jobs", "1", "--stack_seeds", "true"]) == 0
        assert told(capsys) == []


class TestTold:
    def compare(self, folder, *options, method="finetune", seeds=2):
        arguments = [*HERE, "--method", method, "--seeds", str(seeds), "--run_dir", str(folder), *options]
        return main(arguments)

    def test_intention_and_whose_lines_follow(self, tmp_path, capsys):
        assert self.compare(tmp_path / "run", "--stack_seeds", "true", method="finetune,agem") == 0
        out = capsys.readouterr().out
        assert [out.splitlines().count(line) for line in (INTENTION, OTHERS)] == [1, 1]
        assert out.index("seed 0, phase 1/2") < out.index("seed 1, phase 1/2") < out.index("seed 0, phase 2/2")

    def test_a_fall_back_follows_the_intention(self, tmp_path, capsys):
        assert self.compare(tmp_path / "run", "--stack_seeds", "true", "--checkpoint_every", "5") == 0
        intention, fall_back = told(capsys)
        assert intention == INTENTION
        assert fall_back.startswith(FALL_BACK)

    def test_quiet(self, tmp_path, capsys):
        """Neither the intention nor the fall-back."""
        assert self.compare(tmp_path / "run", "--stack_seeds", "true", "--checkpoint_every", "5", "--quiet") == 0
        assert told(capsys) == []

    def test_nothing_by_default(self, tmp_path, capsys):
        assert self.compare(tmp_path / "run") == 0
        assert told(capsys) == []

    def test_pairs_of_one_run(self, tmp_path, capsys):
        folder = tmp_path / "run"
        assert self.compare(folder, "--stack_seeds", "true", method="finetune,random", seeds=1) == 0
        assert told(capsys) == ["--stack_seeds true has no effect: each pair has one run"]

    def test_no_effect_on_slurm(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))  # without SLURM it ends there
        arguments = ["--setting", "class_incremental", "--method", "finetune", "--seeds", "2", *QUICK]
        arguments += ["--launcher", "slurm", "--stack_seeds", "true", "--run_dir", str(tmp_path / "run")]
        assert main(arguments) == 2
        assert told(capsys) == ["--stack_seeds true has no effect: each job of --launcher slurm is a single run"]

    def test_one_run_has_no_seeds_to_join(self, tmp_path, capsys):
        arguments = ["--setting", "class_incremental", "--method", "finetune", *QUICK, "--stack_seeds", "true"]
        assert main([*arguments, "--run_dir", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert_one_sentence(error)
        assert "--stack_seeds true is for several seeds of a pair" in error
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stack_again", ["true", "false"])
def test_kill_9_and_resume(tmp_path, stack_again):
    """Of two stacks in two processes, what each run has saved between phases is not lost."""
    arguments = ["--setting", "class_incremental", "--method", "finetune,rehearsal", "--seeds", "2", "--nb_tasks", "5"]
    arguments += ["--passes", "4", "--accelerator", "cpu", "--jobs", "2"]
    arguments += ["--keep_checkpoints", "all", "--stack_seeds"]
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(*arguments, "true", "--run_dir", str(folder))
    run = folder / "class_incremental-rehearsal-seed1"
    wait_for(run / "checkpoints" / "phase-001.pt", lambda: process.poll() is None)
    children = children_of(process.pid)
    process.kill()
    process.communicate()
    wait_for_the_end_of(children)
    assert not (run / "results.json").exists()
    assert main(["--resume", str(folder), "--jobs", "2", "--stack_seeds", stack_again]) == 0
    assert main([*arguments, "false", "--run_dir", str(whole)]) == 0
    assert len(matrices(whole)) == 4
    assert matrices(folder) == matrices(whole)

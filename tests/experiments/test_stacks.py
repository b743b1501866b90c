"""Stacks of jobs: each run has its folder, resumes, and fails by itself."""

import json

import pytest

from redwood.core.errors import RedwoodError
from redwood.engine import loop
from redwood.engine.lease import is_held
from redwood.experiments.jobs import Failure, Job
from redwood.experiments.pairs import Pair
from redwood.experiments.stacks import Stack, Unstacked, run_apart, run_task
from redwood.settings.results import Results
from tests.cli.command import QUICK, RUN_FILES
from tests.small_runs import MEASURED

FRAGILE = """
from dataclasses import dataclass
from typing import ClassVar
from redwood.methods.baselines import Finetune

@dataclass
class Fragile(Finetune):
    stackable: ClassVar[bool] = True

    def on_task_start(self, task_id):
        if task_id == 1 and self.setting.seed == 1:
            raise ArithmeticError("broken")
        super().on_task_start(task_id)
"""


def jobs_in(folder, method="rehearsal", *options, seeds=2):
    pair = Pair("class_incremental", method)
    return tuple(Job(pair, (*QUICK, "--quiet", *options), seed, folder / f"seed{seed}") for seed in range(seeds))


def content(results):
    found = results.to_dict()
    found.pop("slices")
    found["cost"] = {name: value for name, value in found["cost"].items() if name not in MEASURED}
    return found


def test_each_run_has_all_its_files_and_the_results_of_a_single_one(tmp_path):
    stacked = run_task(Stack(jobs_in(tmp_path / "stack")))
    single = [run_task(job) for job in jobs_in(tmp_path / "single")]
    for seed, (own, other) in enumerate(zip(stacked, single, strict=True)):
        assert isinstance(own, Results)
        assert content(own) == content(other)
        folders = [tmp_path / name / f"seed{seed}" for name in ("stack", "single")]
        files, wanted = ({path.relative_to(f) for path in f.rglob("*")} for f in folders)
        assert files == wanted
        assert {str(path) for path in files} >= RUN_FILES
        rows = [(f / "metrics.csv").read_text().splitlines() for f in folders]
        assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]
        assert not is_held(folders[0])
        saved = json.loads((folders[0] / "results.json").read_text())
        assert saved["accuracy_matrix"] == own.accuracy_matrix


def test_a_failing_seed_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fragile_seed.py").write_text(FRAGILE)
    jobs = jobs_in(tmp_path, "fragile_seed.py:Fragile", seeds=3)
    ends = run_task(Stack(jobs))
    assert [type(end) for end in ends] == [Results, Failure, Results]
    assert ends[1].reason == "ArithmeticError: broken"
    assert jobs[1].outcome() == ends[1]
    assert "in on_task_start" in capsys.readouterr().err


def test_output_goes_to_the_log_of_the_run_at_work(tmp_path, monkeypatch):
    printed_to = []
    monkeypatch.setattr("redwood.experiments.stacks.print_to", printed_to.append)
    jobs = jobs_in(tmp_path)
    run_apart(Stack(jobs))
    assert set(printed_to) == {job.log for job in jobs}


@pytest.mark.parametrize("together", [True, False])
def test_goes_on_where_it_was_killed(tmp_path, monkeypatch, together):
    """Each run has saved itself after each phase; afterwards the seeds go on side by side, or each by itself."""
    wanted = run_task(Stack(jobs_in(tmp_path / "whole")))
    usual = loop._run_phase

    def stopped(parts, index):
        if index == 1 and parts.setting.seed == 1:
            raise KeyboardInterrupt
        return usual(parts, index)

    monkeypatch.setattr(loop, "_run_phase", stopped)
    jobs = jobs_in(tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run_task(Stack(jobs))
    monkeypatch.undo()
    assert not any(is_held(job.folder) for job in jobs)
    ends = run_task(Stack(jobs)) if together else [run_task(job) for job in jobs]
    for found, own in zip(ends, wanted, strict=True):
        assert content(found) == content(own)


def test_a_run_that_is_behind_catches_up(tmp_path, monkeypatch):
    wanted = run_task(Stack(jobs_in(tmp_path / "whole")))
    usual = loop._run_phase

    def stopped(parts, index):
        if index == 1:
            raise KeyboardInterrupt
        return usual(parts, index)

    jobs = jobs_in(tmp_path / "stopped")
    monkeypatch.setattr(loop, "_run_phase", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_task(jobs[0])
    monkeypatch.undo()
    for found, own in zip(run_task(Stack(jobs)), wanted, strict=True):
        assert content(found) == content(own)


def test_one_that_cannot_be_stacked_is_given_back_and_goes_on(tmp_path):
    jobs = jobs_in(tmp_path, "rehearsal", "--checkpoint_every", "5")
    answer = run_task(Stack(jobs))
    assert isinstance(answer, Unstacked)
    assert "--checkpoint_every 5 saves inside of it" in answer.reason
    assert all(isinstance(run_task(job), Results) for job in jobs)


class TestErrorOfTheStack:
    """An error in what all seeds share: none is known to have failed, and all are run one by one."""

    @pytest.fixture
    def error(self, monkeypatch):
        def broken(error):
            def train(methods, phases):
                raise error

            monkeypatch.setattr("redwood.methods.training.stacked.train_stacked", train)

        return broken

    def test_of_one_process_the_user_sees_the_traceback(self, tmp_path, error, capsys):
        error(ArithmeticError("broken"))
        assert run_task(Stack(jobs_in(tmp_path))) == Unstacked("ArithmeticError in the training side by side")
        assert "ArithmeticError: broken" in capsys.readouterr().err

    def test_else_it_is_in_the_log_that_is_named(self, tmp_path, error, monkeypatch):
        error(ArithmeticError("broken"))
        turns = []
        monkeypatch.setattr("redwood.experiments.stacks.print_to", turns.append)
        jobs = jobs_in(tmp_path)
        answer = run_apart(Stack(jobs))
        assert answer == Unstacked(f"ArithmeticError in the training side by side, see {jobs[0].log}")
        assert turns[-1] == jobs[0].log

    def test_a_sentence_for_the_user_needs_no_traceback(self, tmp_path, error, capsys):
        error(RedwoodError("It does not want to."))
        assert run_task(Stack(jobs_in(tmp_path))) == Unstacked("It does not want to.")
        assert capsys.readouterr().err == ""

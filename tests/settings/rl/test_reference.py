"""`--reference`: fresh agents on each task, looked up by task."""

import warnings
from dataclasses import dataclass

import pytest

from redwood.core.errors import InvalidOptionError
from redwood.engine.loop import run_protocol
from redwood.engine.run import Run
from redwood.settings.rl.tree import IncrementalRLSetting, TaskIncrementalRLSetting, TraditionalRLSetting
from redwood.settings.scores.results import Results
from tests.settings.rl.clock import LIMIT, N_TASKS, Clock, OtherClock, Recorder, clock, record

A, B, C = "gain=1", "gain=5", "gain=3"


def given(*tasks, cls=IncrementalRLSetting, **options):
    return clock(cls, attributes=[], nb_tasks=None, tasks=list(tasks), **options)


def environments(*makers, **options):
    return clock(IncrementalRLSetting, env=list(makers), attributes=[], nb_tasks=None, **options)


def fresh(folder, setting, method=None, **changes):
    """The results of a fresh agent in `folder`."""
    setting.apply(Recorder(), quiet=True, run_dir=str(folder))
    found = Results.load(folder / "results.json")
    found.method = method or f"{Recorder.reference()}+scratch"
    for name, value in changes.items():
        setattr(found, name, value)
    found.save(folder / "results.json")
    return found


def compared(setting):
    return record(setting)[0].reference


class TestTasks:
    def test_a_method_is_its_own_equal(self, tmp_path):
        fresh(tmp_path, clock(IncrementalRLSetting))
        results = record(clock(TaskIncrementalRLSetting, reference=str(tmp_path)))[0]
        assert results.metrics["normalised_return"] == pytest.approx(1)
        gains = [task.values["gain"] for task in clock(IncrementalRLSetting)._made.tasks]
        assert results.reference["returns"] == pytest.approx([LIMIT * gain for gain in gains])
        # Its areas are those of the reference, which leaves nothing to gain.
        assert results.metrics["forward_transfer"] in (None, pytest.approx(0))
        assert Results.from_dict(results.to_dict()).to_dict() == results.to_dict()

    def test_come_in_another_order_and_come_back(self, tmp_path):
        fresh(tmp_path, given("default", A, B), accuracy_matrix=[[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]])
        assert compared(given(B, A, B, A, reference=str(tmp_path)))["returns"] == [3.0, 2.0]

    def test_count_where_the_reference_met_them_first(self, tmp_path):
        fresh(tmp_path, given(A, B, A, B), accuracy_matrix=[[1.0, 9.0], [9.0, 2.0], [9.0, 9.0], [9.0, 9.0]])
        assert compared(given(A, B, A, B, reference=str(tmp_path)))["returns"] == [1.0, 2.0]

    def test_environments_that_come_back(self, tmp_path):
        fresh(tmp_path, environments(Clock, OtherClock), accuracy_matrix=[[1.0, 0], [0, 2.0]])
        found = record(environments(OtherClock, Clock, OtherClock, Clock, reference=str(tmp_path)))[0]
        assert found.reference["returns"] == [2.0, 1.0] and len(found.accuracy_matrix) == 4

    def test_physics_equal_to_the_default_are_the_unchanged_environment(self, tmp_path):
        fresh(tmp_path, given("default", "gain=5,bias=3"), accuracy_matrix=[[1.0, 0], [0, 2.0]])
        assert compared(given("default", reference=str(tmp_path)))["returns"] == [1.0]

    def test_that_are_missing_are_named(self, tmp_path):
        fresh(tmp_path / "given", given(A, B))
        with pytest.raises(InvalidOptionError, match=r"lacks the task Clock with gain=3; run it on all tasks"):
            record(given(A, C, reference=str(tmp_path / "given")))
        fresh(tmp_path / "drawn", clock(IncrementalRLSetting))
        drawn = str(tmp_path / "drawn")
        with pytest.raises(InvalidOptionError, match=r"was run with --task_noise 0\.2, this run has 0\.5"):
            record(clock(IncrementalRLSetting, reference=drawn, task_noise=0.5))
        with pytest.raises(
            InvalidOptionError, match="has not all 4 tasks of this run; run it with the same --nb_tasks"
        ):
            record(clock(IncrementalRLSetting, reference=drawn, nb_tasks=4))

    def test_in_one_phase(self, tmp_path):
        fresh(tmp_path, given(A, B, cls=TraditionalRLSetting))
        with pytest.raises(InvalidOptionError, match="2 tasks in 1 phase; run the reference under incremental_rl"):
            record(given(A, B, reference=str(tmp_path)))


class TestSeeds:
    def test_means_where_the_seed_does_not_decide_the_tasks(self, tmp_path):
        for seed in (1, 2):
            matrix = [[float(seed), 0], [0, 10.0 * seed]]
            fresh(tmp_path / str(seed), environments(Clock, OtherClock, seed=seed), accuracy_matrix=matrix)
        assert compared(environments(Clock, OtherClock, reference=str(tmp_path)))["returns"] == [1.5, 15.0]

    def test_another_one_is_refused_where_it_decides_the_tasks(self, tmp_path):
        fresh(tmp_path, clock(IncrementalRLSetting))
        with pytest.raises(InvalidOptionError, match="holds no run with --seed 9, which decides the tasks"):
            record(clock(IncrementalRLSetting, reference=str(tmp_path), seed=9))

    def test_several_runs_of_one(self, tmp_path):
        for folder in ("b", "c"):
            fresh(tmp_path / folder, clock(IncrementalRLSetting), accuracy_matrix=[[7.0] * N_TASKS] * N_TASKS)
            if folder == "b":
                assert compared(clock(IncrementalRLSetting, reference=str(tmp_path)))["returns"] == [7.0] * N_TASKS
        with pytest.raises(InvalidOptionError, match="several runs with --seed 3 "):
            record(clock(IncrementalRLSetting, reference=str(tmp_path)))


@dataclass
class Tuned(Recorder):
    """A recorder with an option."""

    rate: float = 0.1

    @classmethod
    def reference(cls) -> str:
        return Recorder.reference()


class TestAgents:
    def test_without_a_run(self):
        with pytest.raises(InvalidOptionError, match="--reference /nowhere holds no results of fresh agents; name"):
            record(clock(IncrementalRLSetting, reference="/nowhere"))

    def test_that_do_not_start_anew_are_told_and_not_searched_for(self, tmp_path):
        fresh(tmp_path / "run", clock(IncrementalRLSetting), Recorder.reference())
        with pytest.warns(UserWarning, match=r"Recorder, not joined to scratch"):
            assert compared(clock(IncrementalRLSetting, reference=str(tmp_path / "run")))["returns"]
        with pytest.raises(InvalidOptionError, match=r"holds no results of fresh agents \(it has .*Recorder\)"):
            record(clock(IncrementalRLSetting, reference=str(tmp_path)))

    def test_of_another_kind_are_told_and_of_several_kinds_refused(self, tmp_path):
        """So that random actions and own methods have a reference, too."""
        fresh(tmp_path / "ppo", clock(IncrementalRLSetting), "ppo+scratch")
        with pytest.warns(UserWarning, match=r"is of another agent \(ppo\+scratch\) than this run"):
            assert compared(clock(IncrementalRLSetting, reference=str(tmp_path)))["returns"]
        fresh(tmp_path / "dqn", clock(IncrementalRLSetting), "dqn+scratch")
        with pytest.raises(InvalidOptionError, match=r"several other agents \(dqn\+scratch, ppo\+scratch\)"):
            record(clock(IncrementalRLSetting, reference=str(tmp_path)))

    def test_other_options_are_told(self, tmp_path):
        found = fresh(tmp_path, clock(IncrementalRLSetting))
        for rate in (0.2, 0.1):
            found.config["rate"] = rate
            found.save(tmp_path / "results.json")
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                setting = clock(IncrementalRLSetting, reference=str(tmp_path))
                run_protocol(setting, Tuned(), Run(quiet=True, accelerator="cpu"))
            sentences = [str(one.message) for one in told if "instead of" in str(one.message)]
            assert [("--rate 0.2 instead of 0.1" in one) for one in sentences] == [True] * (rate == 0.2)

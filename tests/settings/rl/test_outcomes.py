"""Results keep how each test episode went, and curves of all tasks inside phases, which leave training as it was."""

import json
from functools import partial

import numpy as np
import pytest

from redwood.core.errors import InvalidOptionError
from redwood.settings.rl.environment import TaskEnvironment
from redwood.settings.rl.outcomes import Outcome, summarise
from redwood.settings.rl.tree import (
    ContinualRLSetting,
    DistributedIncrementalRLSetting,
    IncrementalRLSetting,
    TaskIncrementalRLSetting,
)
from redwood.settings.scores.results import Results
from tests.methods.agents.runs import SMALL, same
from tests.methods.agents.runs import small_setting as agent_setting
from tests.settings.rl.clock import LIMIT, N_TASKS, STEPS, Clock, OtherClock, Recorder, clock, record
from tests.small_runs import run_here


class Reporting(Clock):
    """Reports, under `name`, whether the time since the start of the episode is one of `times`."""

    def __init__(self, name, times):
        super().__init__()
        self.name, self.times, self.age = name, times, 0

    def reset(self, **options):
        self.age = 0
        return super().reset(**options)

    def step(self, action):
        self.age += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info | {self.name: float(self.age in self.times)}


class Playing(Recorder):
    """Plays until the budget is spent, whatever it sees."""

    def fit(self, phase):
        phase.play(self.predict)


def reporting(name, times):
    return partial(Reporting, name, times)


@pytest.fixture(scope="module")
def curved():
    return record(clock(IncrementalRLSetting, eval_every=8))


class TestSummary:
    def test_spread_and_share_of_successes(self):
        summary = summarise([[Outcome(1.0, True), Outcome(2.0, False), Outcome(6.0, False)], [], [Outcome(4.0, None)]])
        assert summary.mean == [3.0, None, 4.0]
        assert summary.std == [pytest.approx(7**0.5), None, 0.0]
        assert summary.success == [pytest.approx(1 / 3), None, None]


class TestSuccess:
    @pytest.mark.parametrize(
        ("name", "times", "share"),
        [
            ("success", [2], 1.0),  # Continual World: at any step
            ("success", [], 0.0),
            ("is_success", [2], 0.0),  # Stable-Baselines3: at the last step
            ("is_success", [LIMIT], 1.0),
        ],
    )
    def test_when_an_episode_is_a_success(self, name, times, share):
        env = [reporting(name, times), reporting(name, [1, LIMIT])]
        results, _ = record(clock(TaskIncrementalRLSetting, env=env, attributes=[], nb_tasks=None))
        assert results.evaluations.success == [[share, 1.0]] * 2
        assert results.evaluations.successes[-1] == [[int(share)] * 4, [1] * 4]
        assert results.metrics["average_success"] == (share + 1) / 2
        assert results.metrics["success_forgetting"] == 0
        assert results.prefers_low("success_forgetting") and not results.prefers_low("average_success")
        assert results.metrics.keys() <= {*results.metric_names()}

    def test_the_rate_of_some_tasks_alone_is_no_metric(self):
        env = [reporting("success", [1]), OtherClock]
        results, _ = record(clock(IncrementalRLSetting, env=env, attributes=[], nb_tasks=None))
        assert results.evaluations.success[-1] == [1.0, None]
        assert "average_success" not in results.metrics

    def test_forward_transfer_by_the_reference(self, tmp_path):
        env = [reporting("success", [1]), reporting("success", [])]
        options = {"env": env, "attributes": [], "nb_tasks": None, "eval_every": 10}
        clock(IncrementalRLSetting, **options).apply(Recorder(), quiet=True, run_dir=str(tmp_path / "run"))
        found = Results.load(tmp_path / "run" / "results.json")
        assert found.success_areas == [1.0, 0.0]
        found.method += "+scratch"
        found.evaluations.curve_success = [[0.5, 0.5]] * len(found.evaluations.steps)
        found.save(tmp_path / "run" / "results.json")
        results, _ = record(clock(IncrementalRLSetting, reference=str(tmp_path / "run"), **options))
        assert results.reference["success_areas"] == [0.5, 0.5]
        assert results.metrics["success_forward_transfer"] == pytest.approx((1.0 - 1.0) / 2)  # 1 and -1
        assert Results.from_dict(results.to_dict()).metrics == results.metrics
        with pytest.raises(InvalidOptionError, match="was run with --eval_every 10, this run has 5; make them equal"):
            record(clock(IncrementalRLSetting, reference=str(tmp_path / "run"), **options | {"eval_every": 5}))


class TestEpisodes:
    def test_each_return_is_in_the_file(self, curved, tmp_path):
        results, _ = curved
        results.save(tmp_path / "results.json")
        content = json.loads((tmp_path / "results.json").read_text())
        returns = np.array(content["evaluations"]["returns"])
        assert returns.shape == (N_TASKS, N_TASKS, 4)
        assert returns.mean(2) == pytest.approx(np.array(results.return_matrix))
        assert content["evaluations"]["return_std"] == pytest.approx(returns.std(2, ddof=1))
        assert content["evaluations"]["successes"] == [[None] * N_TASKS] * N_TASKS
        assert Results.load(tmp_path / "results.json").to_dict() == content

    def test_a_file_without_episodes_is_read(self, curved):
        content = curved[0].to_dict()
        del content["evaluations"]
        loaded = Results.from_dict(content)
        assert loaded.evaluations is None and loaded.return_matrix == curved[0].return_matrix

    def test_samples_are_no_episodes_to_keep(self):
        results = run_here(IncrementalRLSetting(env="supervised:digits", steps_per_task=20, nb_tasks=5), Playing())
        assert results.evaluations.returns == [[None] * 5] * 5
        assert max(results.evaluations.return_std[0]) > 0.1


class TestCurves:
    def test_all_tasks_before_inside_and_after_each_phase(self, curved):
        found = curved[0].evaluations
        assert STEPS == 20
        assert found.steps == [0, 8, 16, 20, 28, 36, 40, 48, 56, 60]
        assert np.array(found.curve_return).shape == (10, N_TASKS)
        assert [found.curve_return[place] for place in (3, 6, 9)] == curved[0].return_matrix

    def test_training_and_budgets_stay_as_they_were(self, curved):
        results, log = curved
        plain, plain_log = record(clock(IncrementalRLSetting))
        assert results.return_matrix == plain.return_matrix
        assert results.online_curve == plain.online_curve
        assert log.fitted == plain_log.fitted
        assert plain.evaluations.steps == []

    def test_metrics(self, curved):
        results = curved[0]
        assert results.metrics.keys() <= {*results.metric_names()}
        assert results.metrics["return_over_time"] == pytest.approx(np.mean(results.return_matrix))
        # The recorder always takes the same action, so nothing is lost and nothing is gained.
        assert results.metrics["isolated_forgetting"] == results.metrics["zero_shot_transfer"] == 0
        content = results.to_dict()["evaluations"]
        assert content["isolated_forgetting"] == [[None] * 3, [0.0, None, None], [0.0, 0.0, None]]
        assert content["zero_shot_transfer"] == [[None, 0.0, 0.0], [None, None, 0.0], [None] * 3]

    def test_seen_tasks_only(self):
        found = record(clock(IncrementalRLSetting, eval_every=10, eval_tasks="seen"))[0]
        assert [value is None for value in found.evaluations.curve_return[0]] == [False, True, True]
        assert found.metrics["return_over_time"] is found.metrics["zero_shot_transfer"] is None
        assert found.metrics["isolated_forgetting"] == 0

    def test_one_phase_for_the_whole_stream(self):
        results, log = record(clock(ContinualRLSetting, eval_every=25))
        assert results.evaluations.steps == [0, 25, 50, 60]
        assert log.fitted == record(clock(ContinualRLSetting))[1].fitted
        assert "isolated_forgetting" not in results.metrics

    def test_nothing_is_tested(self):
        with pytest.raises(InvalidOptionError, match="--eval_every 5 tests inside phases, but --eval_tasks is none"):
            clock(IncrementalRLSetting, eval_every=5, eval_tasks="none")

    def test_every_worker_takes_its_share_of_the_steps(self):
        with pytest.raises(InvalidOptionError, match="--eval_every 5 cannot be shared out evenly to --workers 2"):
            clock(DistributedIncrementalRLSetting, eval_every=5)

    @pytest.mark.slow
    def test_workers_measure_one_curve(self):
        one = clock(IncrementalRLSetting, eval_every=8).apply(Recorder(), quiet=True)
        two = clock(DistributedIncrementalRLSetting, eval_every=8).apply(Recorder(), quiet=True)
        assert two.evaluations == one.evaluations

    @pytest.mark.parametrize("name", ["ppo", "dqn", "sac"])
    @pytest.mark.few(1)
    def test_agents_learn_the_same(self, name):
        make, env = SMALL[name]
        agents, results = [make(), make()], []
        for agent, every in zip(agents, (0, 7), strict=True):
            results.append(run_here(agent_setting(env, eval_every=every), agent))
        assert same(*(agent.state_dict() for agent in agents))
        assert results[0].return_matrix == results[1].return_matrix
        assert len(results[1].evaluations.steps) == 21

    def test_a_copy_of_the_environment_is_tested_and_not_the_environment(self):
        """The state of the phase's environment is the same before and after an evaluation."""
        states = []
        phase = clock(IncrementalRLSetting, eval_every=5).open_stream().phase(0, learner := Recorder())
        learner.log = None
        learner.predict = lambda x, task_id: states.append(phase.train.state_dict()) or np.ones(0)
        env = phase.train
        assert isinstance(env, TaskEnvironment)
        with pytest.raises(Exception, match="predict returned ndarray"):
            env.reset()
        assert len(states) == 1 and phase.budget.spent == 0


class TestEnvironmentsThatComeBack:
    def test_are_one_task(self):
        setting = clock(IncrementalRLSetting, env=[Clock, OtherClock] * 2, attributes=[], nb_tasks=None, eval_every=10)
        results, log = record(setting)
        assert results.phase_tasks == [0, 1, 0, 1]
        assert [fitted.gains[0] for fitted in log.fitted] == [2, 50, 2, 50]
        assert np.array(results.return_matrix).shape == (4, 2)
        assert results.to_dict()["evaluations"]["isolated_forgetting_by_cycle"] == [0.0, 0.0]

    def test_by_name(self):
        setting = IncrementalRLSetting(env="CartPole-v1,CartPole-v0,CartPole-v1")
        assert setting.num_tasks == 2 and setting.order == [0, 1, 0]

    def test_steps_of_a_single_phase_count_each_visit(self):
        options = {"attributes": [], "nb_tasks": None, "eval_every": 40}
        results, _ = record(clock(ContinualRLSetting, env=[Clock, OtherClock, Clock], **options))
        assert results.steps_per_phase == 60
        assert results.evaluations.steps == [0, 40, 60]

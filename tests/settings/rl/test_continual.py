"""The protocol of the reinforcement settings; tests of a child setting inherit those of its parent."""

import gymnasium
import numpy as np
import pytest

from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting, TaskAgnosticRLSetting
from tests.recorder import record_each_worker
from tests.settings.rl.clock import LIMIT, N_TASKS, STEPS, Clock, OtherClock, clock, record

GAINS = [task.values["gain"] for task in clock(ContinualRLSetting)._made[1]]


class TestContinualRL:
    """What every node keeps is tested here; the attributes say what differs from node to node."""

    setting = ContinualRLSetting
    workers = 1
    boundaries = False
    ids_in_training = False
    ids_at_test = False
    phases = 1

    def announced_task(self, index):
        """The id that hooks and phase are given."""
        return None

    def check_gains(self, index, gains):
        """The physics at each step of a phase: smooth drift changes them at every step."""
        knots = np.linspace(0, len(gains) - 1, N_TASKS)
        assert gains == pytest.approx(np.interp(range(len(gains)), knots, GAINS), rel=1e-9)
        assert len(set(gains)) == len(gains)

    def task_of(self, gain):
        """The task of which some physics are; None between tasks."""
        return GAINS.index(gain) if gain in GAINS else None

    @pytest.fixture(scope="class")
    @classmethod
    def recording(cls, request):
        return record_each_worker(request, record, clock(cls.setting), cls.workers)

    @pytest.fixture
    def results(self, recording):
        return recording[0]

    @pytest.fixture
    def logs(self, recording):
        return recording[1]

    def test_hooks_come_in_this_order(self, logs):
        expected = [("attach",), ("configure",)]
        for index in range(self.phases):
            around = [("fit",)]
            if self.boundaries:
                told = self.announced_task(index)
                around = [("on_task_start", told), ("fit",), ("on_task_end", told)]
            expected += around
        for log in logs:
            hooks = [hook for hook in log.hooks if hook != ("predict",)]
            assert hooks == [*expected, ("on_finish",)]
            # Between two phases, and before the end, every task is played: as many steps as an episode has, at once
            # where ids are hidden.
            places = [place for place, hook in enumerate(log.hooks) if hook == ("fit",)]
            tests = np.diff([*places, len(log.hooks)])
            assert all(n - (N_TASKS if self.ids_at_test else 1) * LIMIT in (1, 2, 3) for n in tests)

    def test_the_budget_is_kept_to_the_step(self, logs):
        share = STEPS * N_TASKS // self.phases // self.workers
        for log in logs:
            assert [fitted.total for fitted in log.fitted] == [share] * self.phases
            assert [len(fitted.gains) for fitted in log.fitted] == [share] * self.phases

    def test_at_the_budget_the_environment_truncates_and_closes(self, logs):
        for log in logs:
            for fitted in log.fitted:
                assert fitted.last_truncated
                assert fitted.late == ["BudgetSpentError"] * 2

    def test_episodes_end_at_the_limit(self, logs):
        for log in logs:
            for fitted in log.fitted:
                assert set(fitted.lengths[:-1]) <= {LIMIT}
                assert 0 < fitted.lengths[-1] <= LIMIT

    def test_physics(self, logs):
        for log in logs:
            for index, fitted in enumerate(log.fitted):
                self.check_gains(index, fitted.gains)

    def test_ids_are_shown_in_training_exactly_where_promised(self, logs):
        for log in logs:
            for index, fitted in enumerate(log.fitted):
                assert fitted.task_id == self.announced_task(index)
                if not self.ids_in_training:
                    assert set(fitted.ids) == {None}
                    continue
                told, of_steps = iter(fitted.ids), []
                for length in fitted.lengths:
                    at_reset, *at_steps = (next(told) for _ in range(1 + length))
                    assert at_reset == at_steps[0]
                    of_steps += at_steps
                assert of_steps == [self.task_of(gain) for gain in fitted.gains]

    def test_ids_are_shown_at_test_exactly_where_promised(self, logs):
        for log in logs:
            if self.ids_at_test:
                assert {told for shown in log.tested for told in shown} == set(range(N_TASKS))
                assert all(len(set(shown)) == 1 for shown in log.tested)
            else:
                assert set(map(str, log.tested)) == {"None"}

    def test_every_task_is_scored_by_whole_episodes(self, results):
        expected = [LIMIT * gain for gain in GAINS]
        assert len(results.return_matrix) == self.phases
        for row in results.return_matrix:
            assert row == pytest.approx(expected)

    def test_random_actions_are_measured(self, results):
        shares = np.array(results.random_return) / [LIMIT * gain for gain in GAINS]
        assert ((shares > 0.1) & (shares < 0.9)).all()

    def test_the_online_curve_covers_all_steps(self, results):
        assert results.online_curve[-1][0] == STEPS * N_TASKS == results.cost.training_samples
        low, high = LIMIT * min(GAINS), LIMIT * max(GAINS)
        assert all(low - 1e-6 <= value <= high + 1e-6 for _, value in results.online_curve)

    def test_the_method_sees_no_more_than_the_node_shows(self, logs):
        for log in logs:
            hidden = {"num_tasks", "nb_tasks", "steps_per_task", "attributes", "task_noise", "tasks"}
            for name in hidden:
                assert (log.view[name] is None) == (not self.boundaries), name
            assert "_made" not in log.view
            assert isinstance(log.view["env"], str)

    def test_the_first_task_is_the_environment_as_it_is(self):
        task = clock(self.setting)._made[1][0]
        assert task.values == {"gain": Clock().gain}

    def test_same_seed_same_tasks(self):
        def gains(seed):
            return [task.values["gain"] for task in clock(self.setting, seed=seed)._made[1]]

        assert gains(5) == gains(5)
        assert gains(5)[1:] != gains(6)[1:]

    def test_same_seed_same_run(self, results):
        if self.workers > 1:
            return
        again, _ = record(clock(self.setting))
        assert (again.return_matrix, again.online_curve) == (results.return_matrix, results.online_curve)
        assert again.random_return == results.random_return

    def test_a_list_of_environments_is_a_task_each(self):
        if self.workers > 1:
            return
        setting = clock(self.setting, env=[Clock, OtherClock, Clock], attributes=[], nb_tasks=None)
        results, log = record(setting)
        assert results.return_matrix[-1] == pytest.approx([2 * LIMIT, 50 * LIMIT])
        assert {gain for fitted in log.fitted for gain in fitted.gains} == {2.0, 50.0}
        for fitted in log.fitted:  # an episode is of one environment
            gains = np.split(np.array(fitted.gains), np.cumsum(fitted.lengths)[:-1])
            assert all(len(set(part.tolist())) == 1 for part in gains)


class TestTaskAgnosticRL(TestContinualRL):
    setting = TaskAgnosticRLSetting

    def check_gains(self, index, gains):
        """Discrete drift takes exactly as many values as there are tasks."""
        assert gains == [gain for gain in GAINS for _ in range(STEPS // self.workers)]


def test_vectorised_environments_count_every_step():
    phase = next(clock(TaskAgnosticRLSetting).phases())
    environments = phase.environments(3)
    for env in environments:
        env.reset()
    gains = []
    for _ in range(5):
        gains += [env.step(1)[4]["gain"] for env in environments]
    assert phase.budget.spent == 15
    for _ in range(2):
        gains += [env.step(1)[4]["gain"] for env in environments]
    assert gains == [GAINS[0]] * STEPS + [GAINS[1]], "they switch together, by the steps of all"
    assert environments[0].reset()[0].tolist() != environments[1].reset()[0].tolist()


def test_environments_are_closed_after_each_phase():
    closed = []

    class Watched(Clock):
        def close(self):
            closed.append(self.gain)

    record(clock(IncrementalRLSetting, env=Watched))
    assert set(GAINS) <= set(closed)


def test_an_episode_that_is_over_has_to_be_reset():
    env = next(clock(ContinualRLSetting).phases()).train
    env.reset()
    for _ in range(LIMIT):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)

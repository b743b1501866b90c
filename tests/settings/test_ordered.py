"""A user's stream keeps its order: rows as they come, with test samples of every stretch of time."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from redwood.branches.streaming.moving_window import MovingWindow
from redwood.core.errors import InvalidOptionError
from redwood.settings import ContinualSetting, Gradual, get_setting
from redwood.settings.data.dataset import Dataset, describe_data

N = 600


def series(path, n=N, **arrays):
    """Write x (the number of the row, and two inputs) and a target whose rule turns by a whole circle."""
    random = np.random.default_rng(0)
    inputs = random.standard_normal((n, 2))
    angle = np.linspace(0, 2 * np.pi, n)
    y = inputs[:, 0] * np.cos(angle) + inputs[:, 1] * np.sin(angle) + 0.1 * random.standard_normal(n)
    np.savez(path, x=np.column_stack([np.arange(n) / n, inputs]), y=y, **arrays)
    return str(path)


def rows_of(phase, n=N):
    """Numbers of the rows that a phase serves, in the order in which it does."""
    return torch.cat([batch.x[:, 0] for batch in phase.train]).mul(n).round().int().tolist()


class TestSeries:
    def test_a_window_follows_a_drifting_file_as_it_does_artificial_contexts(self, tmp_path):
        plain = series(tmp_path / "plain.npz", n=1500)
        contexts = series(tmp_path / "contexts.npz", n=1500, t=np.arange(1500) * 50 // 1500)
        options = {"passes": 1, "batch_size": 10}
        found, wanted, at_random = (
            ContinualSetting(dataset=path, stream=stream, **options)
            .apply(MovingWindow(window=60), quiet=True)
            .metrics["online_rmse"]
            for path, stream in ((plain, "auto"), (contexts, "auto"), (plain, "instance"))
        )
        assert found == pytest.approx(wanted, rel=0.15)
        assert found < 0.3 < 0.8 < at_random

    @pytest.mark.parametrize("key", ["continual", "task_agnostic"])
    def test_one_phase_serves_the_rows_in_order(self, tmp_path, key):
        setting = get_setting(key)(dataset=series(tmp_path / "a.npz"), passes=1)
        (phase,) = setting.phases()
        rows = rows_of(phase)
        assert rows == sorted(rows)
        assert len(rows) == len(set(rows)) == N - N // 5

    def test_several_passes_show_a_batch_again_before_the_stream_moves_on(self, tmp_path):
        (phase,) = ContinualSetting(dataset=series(tmp_path / "a.npz"), passes=3).phases()
        rows = rows_of(phase)
        assert rows[:32] == rows[32:64] == rows[64:96] < rows[96:128]

    def test_announced_tasks_are_consecutive_and_in_order_if_seen_once(self, tmp_path):
        setting = get_setting("online_domain_incremental")(dataset=series(tmp_path / "a.npz"), nb_tasks=3)
        phases = [rows_of(phase) for phase in setting.phases()]
        rows = list(itertools.chain(*phases))
        assert rows == sorted(rows)
        assert [len(rows) for rows in phases] == [160, 160, 160]

    def test_several_passes_over_an_announced_task_are_shuffled(self, tmp_path):
        setting = get_setting("domain_incremental")(dataset=series(tmp_path / "a.npz"), nb_tasks=3, passes=2)
        first, second = (rows_of(phase)[:160] for phase in list(setting.phases())[:2])
        assert first != sorted(first)
        assert max(first) < min(second)

    @pytest.mark.parametrize("key", ["online_traditional", "cumulative"])
    def test_pooled_tasks_are_shuffled(self, tmp_path, key):
        phase = list(get_setting(key)(dataset=series(tmp_path / "a.npz"), passes=1, nb_tasks=2).phases())[-1]
        rows = rows_of(phase)
        assert rows != sorted(rows)

    def test_validation_samples_leave_the_order_as_it_is(self, tmp_path):
        (phase,) = ContinualSetting(dataset=series(tmp_path / "a.npz"), passes=1, validation=0.25).phases()
        rows = rows_of(phase)
        assert rows == sorted(rows)
        assert len(rows) == 360

    def test_blurry_transitions_contradict_it(self, tmp_path):
        setting = get_setting("task_agnostic")(dataset=series(tmp_path / "a.npz"), transition="blurry")
        with pytest.raises(InvalidOptionError, match=r"--transition blurry mixes .* use --stream instance"):
            _ = setting.action_space


class TestTestSamples:
    def test_each_task_has_those_of_its_own_stretch(self, tmp_path):
        stream = ContinualSetting(dataset=series(tmp_path / "a.npz"), nb_tasks=4).open_stream()
        before = -1
        for task in range(4):
            rows, rows_test = (
                stream.samples_of(task, test=test)[0][:, 0].mul(N).round().int() for test in (False, True)
            )
            assert before < rows.min() <= rows_test.max() < rows.max() + 5
            assert len(rows_test) in (29, 30, 31)
            before = int(rows.max())

    def test_those_of_another_file_follow_its_order(self):
        x, x_test = (torch.arange(n, dtype=torch.float32)[:, None] for n in (12, 6))
        data = Dataset.from_arrays(x, x[:, 0] / 8, x_test, x_test[:, 0] / 8)
        stream = ContinualSetting(dataset=data, nb_tasks=3).open_stream()
        found = [stream.samples_of(task, test=True)[0].flatten().tolist() for task in range(3)]
        assert found == [[0, 1], [2, 3], [4, 5]]


class TestTimes:
    @pytest.fixture
    def classes(self):
        """Samples of two classes, not in the order of time; each sample is its time."""
        time = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        x, y = time.float()[:, None], time % 2
        return Dataset.from_arrays(x[:30], y[:30], x[30:], y[30:], time=time[:30], time_test=time[30:])

    def test_they_decide_the_order_of_classified_samples(self, classes):
        (phase,) = ContinualSetting(dataset=classes, passes=1, nb_tasks=3).phases()
        times = torch.cat([batch.x for batch in phase.train]).flatten().tolist()
        assert times == sorted(times)

    def test_test_samples_belong_to_the_stretch_of_time_that_they_lie_in(self, classes):
        stream = ContinualSetting(dataset=classes, nb_tasks=3).open_stream()
        spans = [[stream.samples_of(task, test=test)[0] for test in (False, True)] for task in range(3)]
        for (_, test), (later, _) in itertools.pairwise(spans):
            assert test.max() < later.min()
        assert sum(len(test) for _, test in spans) == 10

    def test_checkpoints_know_them(self, classes):
        later = dataclasses.replace(classes, time=classes.time + 1)
        assert describe_data(later) != describe_data(classes) == describe_data(dataclasses.replace(classes))

    def test_without_times_classes_are_split(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.eye(40), y=np.arange(40) % 4)
        setting = get_setting("class_incremental")(dataset=str(tmp_path / "a.npz"), nb_tasks=2)
        assert [len(phase.task_classes[phase.task_id]) for phase in setting.phases()] == [2, 2]

    def test_order_by_name_holds_for_classified_samples_of_a_file(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.arange(60.0)[:, None], y=np.arange(60) % 3)
        setting = ContinualSetting(dataset=str(tmp_path / "a.npz"), stream="ordered", nb_tasks=2, passes=1)
        (phase,) = setting.phases()
        rows = torch.cat([batch.x for batch in phase.train]).flatten().tolist()
        assert rows == sorted(rows)
        middle = rows[len(rows) // 2]
        stream = setting.open_stream()
        assert stream.samples_of(0, test=True)[0].max() < middle < stream.samples_of(1, test=True)[0].max()


def test_a_width_of_drift_that_changes_nothing_is_told():
    with pytest.raises(InvalidOptionError, match=r"--drift_width 4.0 mixes the samples of tasks, but --stream ordered"):
        ContinualSetting(stream="ordered", transition=Gradual(drift_width=4.0)).open_stream()

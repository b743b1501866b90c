"""Targets that are numbers: streams, spaces, scores, results, and what is refused."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from redwood.cli import main
from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError, RedwoodError
from redwood.methods import get_method
from redwood.methods.baselines import Random
from redwood.settings import SETTINGS, ClassSplit, get_setting
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.files import load
from redwood.settings.scores.results import RegressionResults, Results
from tests.cli.command import assert_one_sentence
from tests.regression import line
from tests.small_runs import comparable, run_here, small_setting


@dataclass
class Shifted(Random):
    """Knows the rule, but for an error that grows from phase to phase."""

    regression = True
    components: int = 0

    def configure(self, setting):
        super().configure(setting)
        self.phases = 0

    def predict(self, x, task_id):
        y = x.float() @ torch.tensor([1.0, -2.0, 0.5]) + 0.5 * self.phases
        return y[:, None] * torch.arange(1.0, self.components + 1) if self.components else y

    def fit(self, phase):
        super().fit(phase)
        self.phases += 1


def shifted(components=0, **options):
    setting = small_setting("domain_incremental", dataset=line(components=components), **options)
    return run_here(setting, Shifted(components=components))


class TestScores:
    def test_results_hold_errors_and_lower_is_better(self):
        results = shifted()
        assert results.rmse_matrix == [pytest.approx([error] * 3) for error in (0.5, 1.0, 1.5)]
        expected = {
            "average_rmse": 1.5,
            "average_incremental_rmse": 1.0,
            "forgetting": 1.0,
            "backward_transfer": -0.75,
            "forward_transfer": -0.75,
            "online_rmse": ((0 + 0.5**2 + 1) / 3) ** 0.5,
        }
        assert results.metrics == {name: pytest.approx(value, abs=1e-6) for name, value in expected.items()}
        assert run_here(small_setting("domain_incremental", dataset=line()), Random()) < results

    def test_of_several_numbers_it_is_the_root_of_the_mean_over_samples_and_numbers(self):
        """The rule of the second component is twice that of the first, and so is the error of `Shifted`."""
        results = shifted(components=2)
        assert results.rmse_matrix[0] == pytest.approx([0.5 * (5 / 2) ** 0.5] * 3)
        assert results.metrics["online_rmse"] == pytest.approx(((0 + 0.25 + 1) / 3 * 2.5) ** 0.5)

    def test_the_curve_of_errors_is_resumable(self):
        whole, part = (next(small_setting("continual", dataset=line(32)).phases()) for _ in range(2))
        batch = next(iter(whole.train))
        whole.score(batch.y + 2, batch)
        part.load_state_dict(whole.state_dict())
        for phase in (whole, part):
            *_, last = (batch for batch in phase.train if batch.first_pass)
            phase.score(last.y, last)
            assert phase.online.curve() == [(16, pytest.approx(2.0)), (32, 0.0)]

    @pytest.mark.parametrize("shape", [(30,), (30, 2), (30, 1)])
    def test_answers_of_another_shape_are_refused(self, shape):
        class Wrong(Shifted):
            regression = True

            def predict(self, x, task_id):
                return torch.zeros(len(x), *shape[1:])

        components = 0 if len(shape) == 2 else 2
        with pytest.raises(RedwoodError, match="return the numbers"):
            run_here(small_setting("continual", dataset=line(components=components)), Wrong())


class TestStreams:
    def test_the_action_space_is_the_range_of_the_targets(self):
        one, two = (get_setting("continual")(dataset=line(components=n)).action_space for n in (0, 2))
        y = line().y
        assert (one.shape, two.shape) == ((), (2,))
        assert isinstance(one, Box)
        assert (float(one.low), float(one.high)) == (float(y.min()), float(y.max()))

    @pytest.mark.parametrize("key", ["domain_incremental", "task_incremental", "cumulative"])
    @pytest.mark.parametrize("stream", ["auto", "permuted"])
    def test_tasks_share_their_outputs_and_have_no_classes(self, key, stream):
        setting = small_setting(key, dataset=line(), stream=stream)
        assert setting.action_space.shape == ()
        for phase in setting.phases():
            assert phase.task_classes is None
            for batch in phase.train:
                assert (batch.y.dtype, batch.y.dim()) == (torch.float32, 1)

    def test_instances_are_dealt_out_with_their_targets(self):
        data = line(n_train=91)
        setting = small_setting("domain_incremental", dataset=data)
        batches = [batch for phase in setting.phases() for batch in phase.train]
        seen, targets = torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])
        assert len(seen) == 91
        torch.testing.assert_close(seen @ torch.tensor([1.0, -2.0, 0.5]), targets)

    @pytest.mark.parametrize(
        "options",
        [{"stream": "class_split"}, {"stream": ClassSplit(class_order=[0, 1])}, {"stream": ClassSplit(increment=[1])}],
    )
    def test_class_splits_are_refused(self, options):
        with pytest.raises(InvalidOptionError, match="splits classes, but"):
            _ = small_setting("domain_incremental", dataset=line(), **options).action_space

    @pytest.mark.parametrize("key", [key for key in SETTINGS if get_setting(key).assumptions.labels])
    def test_settings_whose_tasks_bring_classes_are_refused(self, key):
        setting = small_setting(key, dataset=line())
        if key == "osaka":
            with pytest.raises(DataError, match="targets of line are numbers; a task needs classes"):
                _ = setting.action_space
        elif key.endswith("class_incremental") or key == "label_budget":
            with pytest.raises(NotApplicableError, match=f"^{key} adds classes .* targets of line are numbers; choose"):
                _ = setting.action_space
        elif key == "acquisition":
            with pytest.raises(NotApplicableError, match="targets of line are numbers; choose"):
                _ = setting.action_space
        else:
            assert setting.action_space.shape == ()


class TestData:
    @pytest.mark.parametrize(
        ("y", "y_test", "sentence"),
        [
            (torch.zeros(4), torch.zeros(4, 2), "make them alike"),
            (torch.zeros(4), torch.zeros(4).long(), "make them alike"),
            (torch.tensor([0, 1, torch.nan, 2]), torch.zeros(4), "NaN or infinite"),
            (torch.zeros(4, 2, 2), torch.zeros(4, 2, 2), "in one dimension"),
            (torch.zeros(3), torch.zeros(4), "4 training samples need as many"),
        ],
    )
    def test_targets_that_cannot_be_learned(self, y, y_test, sentence):
        x = torch.zeros(4, 2)
        with pytest.raises(DataError, match=sentence):
            Dataset.from_arrays(x, y, x, y_test)

    @pytest.mark.parametrize("shape", [(50,), (50, 2)])
    def test_a_file_of_floats_is_regression(self, tmp_path, shape):
        generator = np.random.default_rng(0)
        np.savez(tmp_path / "mine.npz", x=generator.random((50, 3)), y=generator.random(shape), t=np.arange(50) % 2)
        data = load(tmp_path / "mine.npz", seed=0)
        assert data.is_regression
        assert (data.y.shape, data.y_test.shape) == ((40, *shape[1:]), (10, *shape[1:]))
        assert torch.bincount(data.contexts_test).tolist() == [5, 5]


class TestMethods:
    @pytest.mark.parametrize("method", ["icarl", "ewc+rehearsal", "er_ace"])
    def test_those_that_predict_classes_are_refused_before_anything_is_written(self, method, tmp_path):
        with pytest.raises(NotApplicableError, match=r"predicts classes, but the targets of line are numbers;"):
            run_here(
                small_setting("domain_incremental", dataset=line()), get_method(method)(), run_dir=str(tmp_path / "run")
            )
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        "options", [{"buffer_policy": "class_balanced"}, {"buffer_policy": "ring"}, {"buffer_sampler": "mir"}]
    )
    def test_rehearsal_refuses_parts_that_go_by_classes(self, options):
        with pytest.raises(InvalidOptionError, match="goes by classes, but the targets of line are numbers"):
            run_here(small_setting("continual", dataset=line()), get_method("rehearsal")(**options))

    @pytest.mark.parametrize(
        ("key", "method", "options"),
        [
            ("continual", "finetune", {}),
            ("task_incremental", "rehearsal", {"buffer_policy": "loss_aware", "buffer_sampler": "old_tasks"}),
            ("domain_incremental", "async_rehearsal", {}),
            ("cumulative", "joint", {}),
        ],
    )
    @pytest.mark.parametrize("components", [0, 2])
    @pytest.mark.few(3)
    def test_networks_learn_numbers(self, key, method, options, components):
        data = line(n_train=300, components=components)
        setting = small_setting(key, dataset=data, stream="instance", passes=4, validation=0.1)
        results = run_here(setting, get_method(method)(**options))
        guessed = float(setting.dataset.source.y.std())
        assert results.objective < 0.5 * guessed
        assert results.metrics["online_rmse"] < 1.2 * guessed

    def test_a_guess_is_within_the_range(self):
        setting = small_setting("continual", dataset=line(components=2))
        method = Random()
        run_here(setting, method)
        guess = method.predict(torch.zeros(200, 3), None)
        assert guess.shape == (200, 2)
        assert all(setting.action_space.contains(row.numpy()) for row in guess)


class TestCommandLine:
    def test_files_and_tables_name_the_error(self, tmp_path, capsys):
        folder = tmp_path / "run"
        options = [
            "--dataset",
            "drift_regression:abrupt",
            "--passes",
            "1",
            "--run_dir",
            str(folder),
            "--accelerator",
            "cpu",
        ]
        assert main(["--setting", "domain_incremental", "--method", "moving_window", *options]) == 0
        output = capsys.readouterr().out
        assert "RMSE on task" in output and "average RMSE" in output and "accuracy" not in output
        content = json.loads((folder / "results.json").read_text())
        assert {"rmse_matrix", "online_rmse"} <= content.keys()
        assert {"rmse_matrix.png", "rmse_curve.png"} <= {path.name for path in folder.iterdir()}
        assert "average_rmse" in (folder / "metrics.csv").read_text()
        loaded = Results.load(folder / "results.json")
        assert isinstance(loaded, RegressionResults)
        assert loaded.to_dict() == content

    @pytest.mark.parametrize(
        ("setting", "method", "reason"),
        [
            ("class_incremental", "moving_window", "adds classes from task to task, but"),
            ("continual", "slda", "predicts classes, but"),
        ],
    )
    def test_what_does_not_go_together_is_one_sentence(self, setting, method, reason, tmp_path, capsys):
        options = ["--dataset", "drift_regression:abrupt", "--run_dir", str(tmp_path / "run")]
        assert main(["--setting", setting, "--method", method, *options]) == 2
        sentence = capsys.readouterr().err
        assert_one_sentence(sentence)
        assert reason in sentence and "drift_regression:abrupt are numbers; choose" in sentence
        assert not (tmp_path / "run").exists()


def on_two():
    return run_here(small_setting("domain_incremental", dataset=line(), workers=2, batch_size=8), Shifted())


def test_two_workers_add_up_their_errors(two_workers):
    first, second = two_workers.run(on_two)
    assert comparable(first) == comparable(second)
    assert first.rmse_matrix == [pytest.approx([error] * 3) for error in (0.5, 1.0, 1.5)]
    assert first.metrics["online_rmse"] == pytest.approx(shifted().metrics["online_rmse"])

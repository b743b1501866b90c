"""Samples with several labels: data, streams, spaces, scores, results, and what is refused."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiBinary
from sklearn.metrics import average_precision_score

from redwood.branches.label_budget.semi_supervised import SemiSupervised
from redwood.cli import main
from redwood.core.errors import DataError, InvalidOptionError, InvalidPredictionError, NotTrainedError, RedwoodError
from redwood.methods import get_method, method_names
from redwood.methods.baselines import Finetune, Random
from redwood.methods.table import METHODS
from redwood.settings import AllTasks, Auto, ClassIncrementalSetting, Rotated, get_setting
from redwood.settings.data.dataset import Dataset, describe_data
from redwood.settings.data.files import load
from redwood.settings.data.multi_label import N_LABELS, multi_label
from redwood.settings.scores.multi_label_results import MultiLabelResults
from redwood.settings.scores.results import Results
from tests.cli.command import assert_one_sentence
from tests.label_sets import few_label_sets
from tests.methods.helpers import one_sentence
from tests.small_runs import comparable, run_here, small_setting

LABEL_METHODS = {
    "random", "finetune", "stable_sgd", "widen", "joint", "rehearsal", "async_rehearsal", "der", "der_pp", "agem",
    "mir", "ewc", "si", "mas", "rwalk", "packnet", "hat", "pnn",
}  # fmt: skip


def label_setting(key="class_incremental", **options):
    options = {"dataset": few_label_sets(), "nb_tasks": None} | options
    return small_setting(key, **options)


def without_test_labels():
    """The last test samples have no label."""
    data = few_label_sets()
    return replace(data, y_test=data.y_test & (torch.arange(90) < 50)[:, None])


@dataclass
class Knows(Random):
    """Knows the rule, nearly, for the labels of the tasks that it was trained on."""

    multi_label = True

    def configure(self, setting):
        super().configure(setting)
        self.weights, self.phases = torch.zeros(8, setting.action_space.n), 0

    def fit(self, phase):
        data = few_label_sets()
        known = data.y & (data.y.any(1) & (data.contexts <= self.phases))[:, None]
        noise = 0.3 * torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
        self.weights = torch.linalg.lstsq(data.x, known.float()).solution + noise
        self.phases += 1

    def predict(self, x, task_id):
        return x @ self.weights - 0.5


class TestData:
    def test_bool_rows_are_label_sets(self):
        data = few_label_sets()
        assert data.is_multi_label and not data.is_regression and data.kind == "multi_label"
        assert data.y.dtype == torch.bool and data.n_outputs == data.n_classes == 6

    def test_the_fingerprint_tells_label_sets_apart(self):
        data = few_label_sets()
        other = few_label_sets()
        other.y[0, 0] ^= True
        assert describe_data(data) == describe_data(few_label_sets()) != describe_data(other)

    @pytest.mark.parametrize(
        ("y", "y_test", "reason"),
        [
            (np.ones((4, 2), int), np.ones((4, 2), int), "pass y.argmax.* or y.astype.bool"),
            (np.ones(4, bool), np.ones(4, bool), "must be integers"),
            (np.ones((4, 2), bool), np.zeros(4, int), "sets of the same labels"),
            (np.ones((4, 2), bool), np.ones((4, 3), bool), "sets of the same labels"),
            (np.ones((3, 2), bool), np.ones((4, 2), bool), "4 training samples need as many"),
            (np.eye(4, 3, k=1, dtype=bool), np.ones((4, 3), bool), r"no training sample has the labels \{0\}; drop"),
            (np.ones((4, 1), bool), np.ones((4, 1), bool), "one label only"),
        ],
    )
    def test_label_sets_that_cannot_be_learned(self, y, y_test, reason):
        x = np.random.default_rng(0).random((4, 3))
        with pytest.raises(DataError, match=reason):
            Dataset.from_arrays(x, y, x, y_test)

    @pytest.mark.parametrize("given", [{}, {"t": np.arange(60) % 2}, {"time": np.arange(60.0)}])
    def test_a_file_is_split_so_that_rare_labels_are_in_training(self, given, tmp_path):
        generator = np.random.default_rng(1)
        y = generator.random((60, 4)) < (0.6, 0.3, 0.2, 0.1)
        np.savez(tmp_path / "mine.npz", x=generator.random((60, 3)), y=y, **given)
        data = load(tmp_path / "mine.npz", seed=0)
        assert len(data.y_test) == pytest.approx(12, abs=2) and len(data.y) + len(data.y_test) == 60
        assert (data.y.sum(0) + data.y_test.sum(0)).tolist() == y.sum(0).tolist()
        assert bool(data.y.any(0).all())

    def test_a_file_of_hdf5(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        expected = few_label_sets()
        with h5py.File(tmp_path / "mine.h5", "w") as file:
            for name, values in (("x", expected.x), ("y", expected.y), ("t", expected.contexts)):
                file[name] = values.numpy()
                file[f"{name}_test"] = getattr(expected, {"t": "contexts"}.get(name, name) + "_test").numpy()
        data = load(tmp_path / "mine.h5", seed=0)
        assert torch.equal(data.y, expected.y) and torch.equal(data.y_test, expected.y_test)

    def test_one_hot_integers_in_a_file_are_told_what_they_could_be(self, tmp_path):
        np.savez(tmp_path / "mine.npz", x=np.ones((6, 3)), y=np.ones((6, 2), int))
        with pytest.raises(DataError, match="save y as bool where a sample may have several labels"):
            load(tmp_path / "mine.npz", seed=0)

    def test_the_generated_stream_has_a_long_tail_and_labels_that_come_together(self):
        data = multi_label(None, 0, 0)  # type: ignore[arg-type]
        counts = data.y.sum(0)
        assert counts[0] > 40 * counts[-4:].float().mean() and int(counts.min()) >= 10
        assert float(data.y.sum(1).float().mean()) > 1.3 and int(data.y.sum(1).min()) == 1
        own = torch.arange(N_LABELS) % 4 == data.contexts[:, None]
        assert not bool((data.y & ~own).any())
        assert not torch.equal(multi_label(None, 1, 0).x, data.x)  # type: ignore[arg-type]


class TestStreams:
    @pytest.mark.parametrize("stream", ["contexts", "ordered", "instance", "permuted"])
    @pytest.mark.parametrize("key", ["class_incremental", "domain_incremental", "task_incremental", "traditional"])
    def test_batches_hold_label_sets(self, key, stream):
        setting = label_setting(key, stream=stream, nb_tasks=2)
        apart = stream == "permuted" and key != "domain_incremental"
        n_outputs = 12 if apart else 6
        assert setting.action_space == MultiBinary(n_outputs)
        served = torch.zeros(n_outputs)
        for phase in setting.phases():
            for batch in phase.train:
                assert batch.y.dtype == torch.bool and batch.y.shape == (len(batch.x), n_outputs)
                served += batch.y.sum(0)
        assert served.sum() == few_label_sets().y.sum() * (2 if stream == "permuted" else 1)
        assert bool(served.all())

    def test_rotated_images(self):
        data = few_label_sets()
        x, x_test = (values.view(-1, 1, 2, 4).repeat(1, 1, 2, 1) for values in (data.x, data.x_test))
        images = Dataset.from_arrays(x, data.y, x_test, data.y_test, name="images")
        setting = label_setting(dataset=images, stream=Rotated(angles=[0.0, 90.0]))
        first, second = setting.phases()
        assert not bool(next(iter(first.train)).y[:, 6:].any())
        assert not bool(next(iter(second.train)).y[:, :6].any())

    def test_tasks_of_the_data_or_equal_parts(self):
        assert ClassIncrementalSetting(dataset=few_label_sets())._stream.num_tasks == 2
        assert ClassIncrementalSetting(dataset=few_label_sets(contexts=False), nb_tasks=3)._stream.num_tasks == 3

    def test_ids_come_with_the_labels_of_each_task(self):
        first, second = label_setting("task_incremental").phases()
        assert first.task_classes == {0: (0, 2, 4)} and second.task_classes == {1: (1, 3, 5)}

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"stream": "class_split"}, "use --stream ordered, instance"),
            ({"stream": Auto(increment=[2])}, "--increment splits classes"),
            ({"eval_tasks": AllTasks(lca=2)}, "several labels; leave it out"),
            ({"dataset": few_label_sets(contexts=False), "stream": "contexts"}, "use --stream instance"),
            ({"dataset": without_test_labels(), "nb_tasks": 3, "stream": "ordered"}, "no test sample with a label"),
        ],
    )
    def test_what_does_not_go_with_label_sets(self, options, reason):
        with pytest.raises(RedwoodError, match=reason):
            label_setting(**options).open_stream()


class TestScores:
    def test_the_matrix_holds_scikit_learns_map_of_each_task(self):
        method = Knows()
        results = run_here(label_setting(), method)
        data = few_label_sets()
        for task in range(2):
            own = data.contexts_test == task
            y = data.y_test[own]
            known = y.any(0)
            scores = (data.x_test[own] @ method.weights - 0.5)[:, known].numpy()
            expected = average_precision_score(y[:, known].numpy(), scores)
            assert results.map_matrix[-1][task] == pytest.approx(expected) != 1.0

    def test_online_score_is_the_f1_of_single_samples(self):
        @dataclass
        class Perfect(Random):
            multi_label = True

            def fit(self, phase):
                for _ in range(phase.train.epochs):
                    for batch in phase.train:
                        phase.score(batch.y, batch)

        assert run_here(label_setting(), Perfect()).metrics["online_f1"] == 1.0

    def test_forgetting_and_groups(self):
        results = run_here(label_setting(), Knows())
        assert sorted(label for labels in results.label_groups.values() for label in labels) == list(range(6))
        metrics = results.metrics
        assert metrics["map"] > 0.5
        for score in ("map", "cf1", "of1"):
            for group, labels in results.label_groups.items():
                assert (metrics[f"{score}_{group}"] is None) == (not labels)
        before, after = (row["tasks"][0]["cf1"]["all"] for row in results.label_scores)
        assert metrics["forgetting_cf1"] == pytest.approx(before - after)

    def test_only_tested_tasks_have_scores(self):
        results = run_here(label_setting(eval_tasks="seen"), Knows())
        assert results.map_matrix[0][1] is None and results.label_scores[0]["tasks"][1] == {}
        assert Results.from_dict(json.loads(json.dumps(results.to_dict()))).metrics == results.metrics

    @pytest.mark.parametrize(
        "answer",
        [
            torch.zeros(90, dtype=torch.long),
            torch.zeros(90, 5),
            torch.full((90, 6), torch.nan),
            torch.zeros(90, 6, dtype=torch.long),
        ],
    )
    def test_answers_that_are_no_label_sets(self, answer):
        @dataclass
        class Wrong(Random):
            multi_label = True

            def predict(self, x, task_id):
                return answer[: len(x)]

        with pytest.raises(InvalidPredictionError):
            run_here(label_setting(), Wrong())

    def test_held_out_samples_are_scored(self):
        results = run_here(label_setting(validation=0.3), Finetune(lr=0.5))
        assert 0 < results.metrics["validation_map"] <= 1


class TestResults:
    def test_they_survive_their_file(self, tmp_path):
        results = run_here(label_setting(), Finetune())
        results.save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json")
        assert isinstance(loaded, MultiLabelResults)
        assert loaded.to_dict() == results.to_dict()
        assert loaded.metrics == results.metrics

    @pytest.mark.parametrize("entry", ["label_groups", "label_scores", "map_matrix"])
    def test_a_damaged_file_is_refused(self, entry):
        content = run_here(label_setting(), Random()).to_dict()
        content[entry] = {"tail": "x"}
        with pytest.raises(DataError):
            Results.from_dict(content)

    def test_the_command_line_prints_and_draws_them(self, tmp_path, capsys):
        options = "--dataset multi_label --passes 1 --accelerator cpu --buffer_policy partitioning --buffer_size 50"
        folder = tmp_path / "run"
        arguments = ["--setting", "class_incremental", "--method", "rehearsal", "--run_dir", str(folder)]
        assert main([*arguments, *options.split()]) == 0
        shown = capsys.readouterr().out
        assert "mAP (%)" in shown and "CF1 minority" in shown and "online F1" in shown
        drawn = {"map_matrix.png", "map_curve.png", "label_groups.png"}
        assert drawn <= {path.name for path in folder.iterdir()}
        assert Results.load(folder / "results.json").metrics["cf1_minority"] is not None


def on_two():
    setting = label_setting(workers=2, batch_size=8)
    return run_here(setting, Knows())


def test_two_workers_score_as_one(two_workers):
    first, second = two_workers.run(on_two)
    assert comparable(first) == comparable(second)
    assert first.map_matrix == run_here(label_setting(), Knows()).map_matrix


class TestMethods:
    def test_which_methods_predict_label_sets(self):
        assert {key for key in method_names() if key in METHODS and get_method(key).multi_label} == LABEL_METHODS

    @pytest.mark.parametrize("key", sorted(LABEL_METHODS - {"random", "async_rehearsal"}))
    @pytest.mark.few(4)
    def test_they_learn_them(self, key):
        setting = "task_incremental" if key in ("packnet", "hat", "pnn") else "cumulative" if key == "joint" else None
        setting = setting or "class_incremental"
        options = {} if key == "stable_sgd" else {"lr": 0.5}
        results = run_here(label_setting(setting, passes=8), get_method(key)(**options))
        chance = run_here(label_setting(setting), Random()).map_matrix
        matrix = np.array(results.map_matrix)
        assert np.isfinite(matrix).all()
        assert matrix[1, 1] > np.array(chance)[1, 1] + 0.1

    @pytest.mark.parametrize("key", ["finetune", "ewc", "mas", "agem", "mir", "der_pp"])
    @pytest.mark.few(3)
    def test_labels_of_other_tasks_are_masked_without_nan(self, key):
        method = get_method(key)(lr=0.3)
        run_here(label_setting("task_incremental"), method)
        assert all(bool(p.isfinite().all()) for p in method.network.parameters())
        scores = method.predict(few_label_sets().x_test[:5], torch.ones(5, dtype=torch.long))
        assert bool((scores[:, ::2] == -torch.inf).all()) and bool(scores[:, 1::2].isfinite().all())

    @pytest.mark.parametrize("key", ["er_ace", "gdumb", "lwf", "icarl", "ncm", "hard_moe", "moving_window"])
    def test_others_are_refused(self, key, tmp_path, capsys):
        arguments = ["--setting", "class_incremental", "--dataset", "multi_label", "--run_dir", str(tmp_path / "run")]
        assert main([*arguments, "--method", key]) == 2
        sentence = capsys.readouterr().err
        assert_one_sentence(sentence)
        assert f"{key} predicts one class, but samples of multi_label have several labels; choose" in sentence

    def test_a_composition_needs_all_of_its_methods(self):
        assert get_method("ewc+rehearsal").multi_label
        assert not get_method("lwf+rehearsal").multi_label

    def test_a_subclass_says_it_itself(self):
        @dataclass
        class Own(Finetune):
            pass

        assert not Own.multi_label

    @pytest.mark.parametrize("policy", ["reservoir", "partitioning", {"partitioning": {"rho": 0.5}}, "loss_aware"])
    @pytest.mark.parametrize("sampler", ["uniform", "task_balanced", "mir"])
    @pytest.mark.few(3)
    def test_buffers_keep_label_sets(self, policy, sampler):
        method = get_method("rehearsal")(buffer_policy=policy, buffer_sampler=sampler, buffer_size=20)
        run_here(label_setting("task_incremental"), method)
        stored = method.buffer.read(torch.arange(len(method.buffer)))["y"]
        assert stored.dtype == torch.bool and stored.shape == (20, 6)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            *(("buffer_policy", name) for name in ("class_balanced", "ring", "herding", "per_class_random")),
            *(("buffer_sampler", name) for name in ("class_balanced", "grasp")),
        ],
    )
    @pytest.mark.parametrize("key", ["rehearsal", "agem"])
    def test_policies_of_one_class_are_refused(self, key, option, value):
        with pytest.raises(InvalidOptionError, match=f"--{option} {value} goes by the one class"):
            run_here(label_setting(), get_method(key)(**{option: value}))

    def test_every_node_serves_them(self):
        for key in ("continual", "task_agnostic", "online_class_incremental", "cumulative", "traditional"):
            setting = get_setting(key)(dataset=few_label_sets(), batch_size=16)
            results = run_here(setting, Finetune())
            assert isinstance(results, MultiLabelResults) and results.metrics["online_f1"] is not None


class TestOtherNodes:
    @pytest.mark.parametrize("rule", ["margin", "entropy"])
    def test_a_rule_that_needs_probabilities_of_classes_is_refused(self, rule):
        with pytest.raises(InvalidOptionError, match=f"--query_rule {rule} goes by the probabilities"):
            run_here(label_setting("label_budget", query_rule=rule), Finetune())

    def test_a_method_that_needs_probabilities_of_classes_is_refused(self):
        with pytest.raises(RedwoodError, match="semi_supervised") as told:
            run_here(label_setting("label_budget"), SemiSupervised())
        assert one_sentence(told.value)

    def test_labels_on_request(self):
        for tested in ("all", "none"):
            results = run_here(label_setting("label_budget", query_rule="core_set", eval_tasks=tested), Finetune())
            assert isinstance(results, MultiLabelResults)
            assert len(results.label_scores) == (len(results.labels_used) if tested == "all" else 0)
            found = Results.from_dict(results.to_dict())
            assert type(found) is type(results) and found.to_dict() == results.to_dict()

    def test_clients_are_skewed_by_classes_and_so_refused(self):
        with pytest.raises(RedwoodError, match="do not have one class each"):
            label_setting("federated_class_incremental").open_stream()

    def test_answers_that_the_setting_asks_for(self):
        @dataclass
        class Late(Knows):
            multi_label = True

            def fit(self, phase):
                for _ in phase.train:
                    pass
                super().fit(phase)

            def predict(self, x, task_id):
                if not self.phases:
                    raise NotTrainedError
                return super().predict(x, task_id)

        setting = label_setting("online_class_incremental", label_delay=1)
        with pytest.warns(UserWarning, match="cannot predict"):
            curve = run_here(setting, Late()).online_curve
        assert {value for samples, value in curve if samples <= 60} == {0.0}
        assert curve[-1][1] > 0.1

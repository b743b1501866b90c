import json
import math
from pathlib import Path

import numpy as np
import pytest

from redwood.core.errors import DataError
from redwood.settings.scores.cost import USES, Cost
from redwood.settings.scores.measure import ACCURACY
from redwood.settings.scores.results import Results, installed_versions, mean_and_std

R = [[0.9, 0.2, 0.1], [0.6, 0.8, 0.3], [0.5, 0.7, 1.0]]
KEYS = {
    "setting",
    "method",
    "dataset",
    "seed",
    "accuracy_matrix",
    "online_accuracy",
    "metrics",
    "cost",
    "versions",
    "config",
}


def make(rows=R, num_phases=3, **fields):
    fields = {"setting": "class_incremental", "method": "rehearsal", "dataset": "digits", "seed": 1} | fields
    return Results(num_phases=num_phases, accuracy_matrix=[list(row) for row in rows], **fields)


def full():
    return make(
        untrained_accuracy=[0.1, 0.15, 0.05],
        online_curve=[(32, 0.25), (96, 0.5)],
        cost=Cost(12.5, 9.0, 3.25, 1000, 80.0, 3.5e9, 4096, 1_000_000, 2048),
        config={"lr": 0.1, "tasks": 3, "order": [2, 0, 1], "data_dir": None},
        top5_accuracy=[0.9, 1.0, 1.0],
    )


class TestMetrics:
    def test_values(self):
        assert full().metrics == pytest.approx(
            {
                "average_accuracy": 2.2 / 3,
                "average_incremental_accuracy": (0.9 + 0.7 + 2.2 / 3) / 3,
                "forgetting": (0.4 + 0.1) / 2,
                "backward_transfer": (-0.4 - 0.1) / 2,
                "forward_transfer": ((0.2 - 0.15) + (0.3 - 0.05)) / 2,
                "online_accuracy": (32 * 0.25 + 64 * 0.5) / 96,
            }
        )

    def test_keys_are_the_same_whatever_was_measured(self):
        for results in (full(), make([]), make([[0.5, 0.6]], num_phases=1), make([[0.5]], num_phases=1)):
            assert tuple(results.metrics) == ACCURACY.metrics

    def test_single_phase_scores_all_tasks_and_measures_no_change(self):
        metrics = make([[0.2, 0.4, 0.9]], num_phases=1, untrained_accuracy=[0.1, 0.1, 0.1]).metrics
        assert metrics["average_accuracy"] == metrics["average_incremental_accuracy"] == pytest.approx(0.5)
        assert metrics["forgetting"] is metrics["backward_transfer"] is metrics["forward_transfer"] is None

    def test_unfinished_run_scores_the_tasks_learned_so_far(self):
        metrics = make(R[:2], untrained_accuracy=[0.1, 0.15, 0.05]).metrics
        assert metrics["average_accuracy"] == pytest.approx(0.7)
        assert metrics["average_incremental_accuracy"] == pytest.approx((0.9 + 0.7) / 2)
        assert metrics["forgetting"] == pytest.approx(0.3)
        assert metrics["backward_transfer"] == pytest.approx(-0.3)
        assert metrics["forward_transfer"] == pytest.approx(0.05)
        assert make(R[:1]).metrics["average_accuracy"] == 0.9

    def test_nothing_evaluated(self):
        assert make([], online_curve=[(10, 0.5)]).metrics == dict.fromkeys(ACCURACY.metrics) | {"online_accuracy": 0.5}
        with pytest.raises(ValueError, match="0 rows"):
            _ = make([]).objective

    def test_do_not_depend_on_when_they_are_asked_for(self):
        asked, unasked = make([], untrained_accuracy=[0.1] * 3), make([], untrained_accuracy=[0.1] * 3)
        for row in R:
            _ = asked.metrics, asked.to_dict()
            asked.accuracy_matrix.append(list(row))
            unasked.accuracy_matrix.append(list(row))
            _ = asked.objective
        assert asked.metrics == unasked.metrics
        assert asked == unasked

    @pytest.mark.parametrize(("rows", "num_phases"), [(R, 1), ([[0.1, 0.2]], 3), ([[0.1] * 3, [0.1] * 2], 3)])
    def test_refuses_a_matrix_that_does_not_fit_the_phases(self, rows, num_phases):
        with pytest.raises(ValueError, match="phases"):
            _ = make(rows, num_phases).metrics


class TestOrder:
    def test_better_is_greater(self):
        worse, better = make([[0.4]], 1), make([[0.6]], 1)
        assert worse < better and better > worse and worse <= better and better >= worse
        assert not better < worse and not better <= worse
        assert max([worse, better]) is better
        assert sorted([better, worse]) == [worse, better]

    def test_equal_objectives_are_no_equal_runs(self):
        one, other = make([[0.4]], 1, seed=1), make([[0.4]], 1, seed=2)
        assert one <= other and other <= one and not one < other and not other < one
        assert one != other
        assert one == make([[0.4]], 1, seed=1)

    def test_lower_is_better_flips_the_order(self):
        class ErrorResults(Results):
            lower_is_better = True

        def error(value):
            return ErrorResults(setting="s", method="m", dataset="d", seed=0, num_phases=1, accuracy_matrix=[[value]])

        low, high = error(0.1), error(0.7)
        assert high < low and high <= low and not low <= high
        assert max([high, low]) is low
        with pytest.raises(TypeError):
            _ = low < make([[0.4]], 1)


class TestJson:
    def test_has_exactly_the_promised_keys(self):
        content = full().to_dict()
        assert content.keys() == KEYS
        assert content["metrics"].keys() == set(ACCURACY.metrics)
        assert content["cost"].keys() == {
            "wall_time_s",
            "training_time_s",
            "evaluation_time_s",
            "training_samples",
            "samples_per_s",
            "training_flops",
            "parameters",
            "peak_memory_bytes",
            "buffer_bytes",
        }
        assert content["versions"].keys() == {"python", "redwood", "torch", "pytorch_lightning", "numpy"}
        assert content["online_accuracy"] == [[32, 0.25], [96, 0.5]]

    @pytest.mark.parametrize(
        "results",
        [
            full(),
            make(),
            make([]),
            make(R[:1], untrained_accuracy=[0.1, 0.2, 0.3]),
            make(R[:2], untrained_accuracy=[0.1, 0.2, 0.3]),
            make([[0.2, 0.4, 0.9]], num_phases=1, untrained_accuracy=[0.1, 0.2, 0.3]),
            make([[0.2]], num_phases=1, untrained_accuracy=[0.1]),
            make(task_names=["2024-01", "2024-02", "2024-03"]),
        ],
        ids=["full", "bare", "no row", "first row", "two rows", "single phase", "single task", "named tasks"],
    )
    def test_round_trip(self, results, tmp_path):
        results.save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json")
        assert loaded.to_dict() == results.to_dict()
        assert loaded.metrics == results.metrics
        if results.accuracy_matrix:
            assert loaded.num_phases == results.num_phases

    def test_flops_by_use(self, tmp_path):
        flops = {"training": [1.0, 2.0], "validation": [0.5, 0.5], "selection": [0.0, 0.0], "search": [4.0, 0.0]}
        cost = Cost(training_flops=7.0, flops=flops)
        make(cost=cost).save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json").cost
        assert loaded == cost
        assert loaded.flops_by_use == {"training": 3.0, "validation": 1.0, "selection": 0.0, "search": 4.0}
        assert loaded.total_flops == 8.0

    def test_a_file_without_flops_by_use(self, tmp_path):
        make(cost=Cost(training_flops=7.0)).save(tmp_path / "results.json")
        assert "flops" not in (tmp_path / "results.json").read_text().replace("training_flops", "")
        loaded = Results.load(tmp_path / "results.json").cost
        assert loaded.flops is None
        assert loaded.flops_by_use == {"training": 7.0, "validation": 0.0, "selection": 0.0, "search": 0.0}

    def test_loaded_forward_transfer_is_not_that_of_more_phases(self, tmp_path):
        make(R[:2], untrained_accuracy=[0.1, 0.2, 0.3]).save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json")
        assert loaded.metrics["forward_transfer"] is not None
        loaded.accuracy_matrix.append(R[2])
        assert loaded.metrics["forward_transfer"] is None

    def test_config_reads_back_as_written(self, tmp_path):
        config = {"path": Path("a/b"), "shape": (1, 2), "bound": math.inf, "n": np.int64(3), 4: {"x": np.float32(0.5)}}
        results = make(config=config)
        results.save(tmp_path / "results.json")
        expected = {"path": str(Path("a/b")), "shape": [1, 2], "bound": "inf", "n": 3, "4": {"x": 0.5}}
        assert results.to_dict()["config"] == Results.load(tmp_path / "results.json").config == expected

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_never_writes_what_json_cannot_hold(self, value, tmp_path):
        make().save(tmp_path / "results.json")
        before = (tmp_path / "results.json").read_text()
        with pytest.raises(DataError, match="NaN or infinity"):
            make([[value, 0.1, 0.1]]).save(tmp_path / "results.json")
        assert (tmp_path / "results.json").read_text() == before
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    def test_an_interrupted_save_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "results.json"
        make().save(path)

        def fail(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(KeyboardInterrupt):
            make(R[:1]).save(path)
        assert Results.load(path).accuracy_matrix == R
        assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]

    def test_save_makes_the_folder(self, tmp_path):
        make().save(tmp_path / "a" / "b" / "results.json")
        assert Results.load(tmp_path / "a" / "b" / "results.json").seed == 1

    def test_file_is_plain_json(self, tmp_path):
        full().save(tmp_path / "results.json")
        text = (tmp_path / "results.json").read_text()
        assert json.loads(text) == full().to_dict()
        assert len(text.splitlines()) == len(KEYS) + 2


class TestForeignFiles:
    def test_truncated(self, tmp_path):
        path = tmp_path / "results.json"
        make().save(path)
        path.write_text(path.read_text()[:-40])
        with pytest.raises(DataError, match=r"results\.json is damaged"):
            Results.load(path)

    def test_missing(self, tmp_path):
        with pytest.raises(DataError, match="no file"):
            Results.load(tmp_path / "results.json")

    @pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"setting": "x"}', "3"])
    def test_other_json(self, content, tmp_path):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(DataError, match=r"other\.json.*exactly the keys"):
            Results.load(tmp_path / "other.json")

    def test_binary(self, tmp_path):
        (tmp_path / "image.png").write_bytes(b"\x89PNG\xff\xfe")
        with pytest.raises(DataError, match="damaged"):
            Results.load(tmp_path / "image.png")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("accuracy_matrix", [["a", 0.1, 0.1]]),
            ("accuracy_matrix", [[0.1], [0.2, 0.3]]),
            ("accuracy_matrix", 3),
            ("cost", {"dollars": 3}),
            ("cost", {"flops": {"training": [1.0]}}),
            ("cost", {"flops": {use: [1.0] for use in USES} | {"training": [-1.0]}}),
            ("cost", {"flops": dict.fromkeys(USES, 1.0)}),
            ("metrics", {}),
            ("online_accuracy", [1, 2]),
            ("config", None),
            ("task_names", ["one"]),
            ("task_names", []),
        ],
    )
    def test_wrong_entries(self, key, value):
        with pytest.raises(DataError, match="does not write"):
            Results.from_dict(full().to_dict() | {key: value})


class TestMeanAndStd:
    def test_sample_standard_deviation(self):
        summary = mean_and_std([make([[value]], 1, seed=i) for i, value in enumerate((0.2, 0.4, 0.9))])
        assert tuple(summary) == ACCURACY.metrics
        assert summary["average_accuracy"] == pytest.approx((0.5, math.sqrt((0.09 + 0.01 + 0.16) / 2)))

    def test_one_run_has_no_deviation(self):
        assert mean_and_std([make()])["forgetting"] == pytest.approx((0.25, 0.0))

    def test_undefined_in_any_run_is_undefined(self):
        summary = mean_and_std([make(untrained_accuracy=[0.1] * 3), make()])
        assert summary["forward_transfer"] is None
        assert summary["average_accuracy"] is not None

    def test_refuses_no_runs(self):
        with pytest.raises(ValueError, match="at least one"):
            mean_and_std([])


def test_versions_name_what_is_installed():
    versions = installed_versions()
    assert versions["numpy"] == np.__version__
    assert all(versions.values())


class TestTasksThatComeBack:
    R = ((0.9, 0.2), (0.6, 0.7), (0.8, 0.5), (0.4, 1.0))

    def results(self, rows):
        return make(self.R[:rows], num_phases=4, phase_tasks=[0, 1, 0, 1], untrained_accuracy=[0.5, 0.1])

    def test_metrics_know_the_task_of_each_phase(self):
        metrics = self.results(4).metrics
        assert metrics["average_accuracy"] == pytest.approx(0.7)
        assert metrics["forgetting"] == pytest.approx(0.5)
        assert metrics["backward_transfer"] == pytest.approx(-0.4)
        assert metrics["forward_transfer"] == pytest.approx(0.1)

    def test_tasks_seen_so_far(self):
        results = self.results(3)
        assert [results.tasks_seen(phase) for phase in range(3)] == [1, 2, 2]
        assert self.results(1).learned.tolist() == [[0.9]]
        assert self.results(3).metrics["average_accuracy"] == pytest.approx(0.65)

    @pytest.mark.parametrize("rows", [1, 3, 4])
    def test_the_file_holds_the_order(self, rows, tmp_path):
        results = self.results(rows)
        results.save(tmp_path / "results.json")
        loaded = Results.load(tmp_path / "results.json")
        assert (loaded.num_phases, loaded.phase_tasks) == (4, [0, 1, 0, 1])
        assert loaded.to_dict() == results.to_dict()

    def test_without_repeats_the_file_says_nothing_of_it(self):
        assert "phase_tasks" not in full().to_dict()


def test_the_names_of_all_metrics_are_known_before_a_run():
    rows = [[0.5], [0.5, 0.6], [0.5, 0.6, 0.7]]
    found = make(validation_matrix=rows, learning_curves=[[0.1, 0.2]] * 3)
    assert found.metrics.keys() == {*Results.metric_names()}

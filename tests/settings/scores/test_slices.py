"""Scores by slice: counted once for every test sample, whatever the tasks and however many workers."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from redwood.core.errors import DataError, InvalidOptionError
from redwood.methods import Finetune
from redwood.settings import Arrays, ClassIncrementalSetting, DomainIncrementalSetting, TaskList, TraditionalSetting
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import Results
from redwood.settings.scores.slices import SliceScores, Slicing
from redwood.settings.streams.phase import Phase
from tests.samples import few_digits
from tests.small_runs import FixedRule, run_here, small_setting

THREE = Slicing("region", ["north", "south", "empty"], torch.tensor([0, 0, 1]))


@dataclass
class FixedScores(FixedRule):
    """Scores that depend on the sample alone."""

    def fit(self, phase: Phase) -> None:
        for _ in range(phase.train.epochs):
            list(phase.train)

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        return F.one_hot(super().predict(x, task_id), 10) * 2.0


def with_regions() -> Dataset:
    data = few_digits()
    regions = [np.array(["south", "north", "east"])[np.arange(len(y)) % 3] for y in (data.y, data.y_test)]
    return Dataset.from_arrays(
        data.x, data.y, data.x_test, data.y_test, name="regions", slices=regions[0], slices_test=regions[1]
    )


class TestSums:
    def test_means_and_equalised_error_rates(self):
        scores = SliceScores.from_sums(THREE, torch.tensor([[4, 2, 0], [3, 1, 0], [2.0, 3.0, 0.0]]))
        assert (scores.samples, scores.accuracy, scores.loss) == ([4, 2, 0], [0.75, 0.5, None], [0.5, 1.5, None])
        assert (scores.average_eer, scores.largest_eer, scores.eer_of) == (0.5, 0.5, "loss")

    @pytest.mark.parametrize("unknown", [float("nan"), float("inf")])
    def test_without_a_finite_loss_the_error_rates_count(self, unknown):
        scores = SliceScores.from_sums(THREE, torch.tensor([[4, 2, 0], [3, 1, 0], [2.0, unknown, 0.0]]))
        assert scores.loss == [0.5, None, None]
        assert (scores.average_eer, scores.largest_eer, scores.eer_of) == (0.125, 0.125, "error rate")


class TestRuns:
    def test_classes_are_the_slices_by_default(self):
        data = few_digits()
        slices = run_here(small_setting("class_incremental", dataset=data), FixedScores()).slices
        right = data.x_test.flatten(1).long().sum(1) % 10 == data.y_test
        scores = F.one_hot(data.x_test.flatten(1).long().sum(1) % 10, 10) * 2.0
        losses = F.cross_entropy(scores, data.y_test, reduction="none")
        members = [data.y_test == label for label in range(10)]
        assert (slices.by, slices.names) == ("class", [str(label) for label in range(10)])
        assert slices.samples == [int(own.sum()) for own in members]
        assert slices.accuracy == pytest.approx([float(right[own].double().mean()) for own in members])
        assert slices.loss == pytest.approx([float(losses[own].mean()) for own in members], rel=1e-6)
        gaps = np.abs(np.array(slices.loss) - np.mean(slices.loss))
        assert (slices.average_eer, slices.largest_eer) == pytest.approx((gaps.mean(), gaps.max()))

    def test_a_method_that_answers_with_classes_has_error_rates_only(self):
        slices = run_here(small_setting("class_incremental"), FixedRule()).slices
        assert slices.loss == [None] * 10 and slices.eer_of == "error rate"

    def test_slices_of_the_data_set(self, tmp_path):
        setting = TraditionalSetting(dataset=with_regions(), passes=2)
        results = run_here(setting, Finetune(), run_dir=str(tmp_path / "run"))
        assert (results.slices.by, results.slices.names) == ("slice", ["east", "north", "south"])
        assert results.slices.samples == [33, 33, 34]
        assert (tmp_path / "run" / "slices.png").stat().st_size > 1000
        loaded = Results.load(tmp_path / "run" / "results.json")
        assert loaded.slices == results.slices and loaded.to_dict() == results.to_dict()

    def test_classes_count_as_in_the_data_where_tasks_share_their_outputs(self):
        setting = small_setting("domain_incremental")
        assert run_here(setting, FixedRule()).slices.samples == torch.bincount(setting.dataset.source.y_test).tolist()

    def test_only_tested_classes_count_where_a_run_takes_a_part_of_the_tasks(self):
        setting = ClassIncrementalSetting(
            stream=TaskList(first_task=1), dataset="digits,digits", nb_tasks=1, passes=1, batch_size=256
        )
        slices = run_here(setting, FixedRule()).slices
        assert slices.samples[:10] == [0] * 10 and min(slices.samples[10:]) > 0
        assert slices.accuracy[:10] == [None] * 10

    def test_two_workers_add_up_their_sums(self, two_workers):
        setting = small_setting("class_incremental", workers=2, nb_tasks=2)
        found = [results.slices for results in two_workers.run(run_here, setting, FixedScores())]
        alone = run_here(small_setting("class_incremental", nb_tasks=2), FixedScores()).slices
        assert found[0] == found[1]
        assert found[0].samples == alone.samples and found[0].accuracy == alone.accuracy
        assert found[0].loss == pytest.approx(alone.loss, rel=1e-12)

    def test_numbers_have_no_slices(self):
        setting = DomainIncrementalSetting(dataset="drift_regression:abrupt", passes=1)
        assert run_here(setting, Finetune()).slices is None

    def test_damaged_file(self, tmp_path):
        results = run_here(small_setting("class_incremental"), FixedScores()).to_dict()
        for name, value in (("accuracy", [2.0]), ("samples", None), ("loss", ["low"])):
            with pytest.raises(DataError, match=f"slices.{name}"):
                Results.from_dict(results | {"slices": results["slices"] | {name: value}})

    def test_resumed_after_the_last_phase(self, tmp_path):
        """A run that was killed before it wrote its results still knows the scores of its last phase."""
        folder = tmp_path / "run"
        results = run_here(small_setting("class_incremental"), FixedScores(), run_dir=str(folder))
        (folder / "results.json").unlink()
        again = run_here(small_setting("class_incremental"), FixedScores(), run_dir=str(folder), resume=True)
        assert again.slices == results.slices


class TestOptions:
    def file(self, tmp_path, **columns):
        data = few_digits()
        arrays = {"x": data.x, "y": data.y, "x_test": data.x_test, "y_test": data.y_test}
        np.savez(tmp_path / "a.npz", **{name: array.numpy() for name, array in arrays.items()}, **columns)
        return str(tmp_path / "a.npz")

    def test_column_of_a_file(self, tmp_path):
        column, column_test = np.arange(160) % 2, np.arange(100) % 2
        name = self.file(tmp_path, side=column, side_test=column_test)
        slices = run_here(TraditionalSetting(dataset=Arrays(name, slices="side"), passes=1), FixedRule()).slices
        assert (slices.by, slices.names, slices.samples) == ("side", ["0", "1"], [50, 50])

    def test_bad_input(self, tmp_path):
        name = self.file(tmp_path, side=np.arange(160) % 2)
        cases = [
            (name, {"slices": "region"}, "--slices region needs an array 'region'"),
            (name, {"slices": "side"}, "needs an array 'side_test'"),
            ("digits", {"slices": "side"}, "--dataset digits has no option slices"),
        ]
        for dataset, options, words in cases:
            with pytest.raises(InvalidOptionError) as error:
                TraditionalSetting(dataset={dataset: options}).open_stream()
            assert words in str(error.value)
        with pytest.raises(InvalidOptionError, match="--stream tasks joins several data sets"):
            TraditionalSetting(dataset=Arrays(name, slices="side"), stream="tasks")

import pytest
import torch
from torch import Tensor

from redwood.buffers.side_info import checked_labels, require

SAMPLES = {"x": torch.zeros(3, 2), "y": torch.tensor([4, 5, 6]), "task_id": torch.tensor([0, 0, 1])}


class TestFind:
    def test_leaves_are_the_default(self) -> None:
        assert require("labels", None, SAMPLES, 3, "Ring").tolist() == [4, 5, 6]
        assert require("tasks", None, SAMPLES, 3, "OldTasks").tolist() == [0, 0, 1]

    def test_what_is_passed_comes_first(self) -> None:
        assert require("labels", torch.tensor([1, 2, 3]), SAMPLES, 3, "Ring").tolist() == [1, 2, 3]

    def test_gradients_are_not_kept(self) -> None:
        assert not require("losses", torch.ones(3, requires_grad=True), SAMPLES, 3, "LossAwareReservoir").requires_grad

    @pytest.mark.parametrize(
        ("name", "given", "message"),
        [
            ("labels", torch.zeros(2).long(), r"3 samples, but labels is of shape \(2,\); give one for each"),
            ("labels", torch.tensor(1), r"of shape \(\)"),
            ("losses", torch.zeros(3, 1), r"losses have to be of shape \(B,\), got \(3, 1\)"),
            ("tasks", torch.zeros(3, 2).long(), r"tasks have to be of shape \(B,\)"),
            ("tasks", torch.zeros(3), r"tasks have to be integers \(B,\), got torch.float32"),
            ("features", torch.zeros(3), r"features have to be of shape \(B, d\), got \(3,\)"),
        ],
    )
    def test_what_does_not_fit(self, name: str, given: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            require(name, given, SAMPLES, 3, "Ring")


class TestLabels:
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int32, torch.int64, torch.bool])
    def test_all_integers_will_do(self, dtype: torch.dtype) -> None:
        labels = checked_labels(torch.tensor([0, 1, 1]).to(dtype), 2, sets=False)
        assert labels.dtype == torch.int64
        assert labels.tolist() == [0, 1, 1]

    def test_sets(self) -> None:
        assert torch.equal(checked_labels(torch.eye(3).bool(), 3, sets=True), torch.eye(3).bool())

    def test_a_column_of_classes_is_no_set(self) -> None:
        with pytest.raises(ValueError, match=r"sets \(B, L\) have to be bool, got torch.int64; convert them"):
            checked_labels(torch.tensor([[3], [5]]), None, sets=True)

    def test_none_at_all(self) -> None:
        assert len(checked_labels(torch.zeros(0).long(), 2, sets=False)) == 0

    @pytest.mark.parametrize(
        ("labels", "sets", "message"),
        [
            (torch.tensor([0.0, 1.0]), False, r"have to be integers \(B,\), got torch.float32 \(2,\); convert them"),
            (torch.eye(2), True, r"integers \(B,\) or sets \(B, L\), got torch.float32 \(2, 2\)"),
            (torch.eye(2).bool(), False, r"have to be integers \(B,\), got torch.bool \(2, 2\)"),
            (torch.zeros(2, 2, 2).bool(), True, r"got torch.bool \(2, 2, 2\)"),
            (torch.tensor([3, -1]), False, "The label -1 is negative; number classes from 0"),
            (torch.tensor([3, 5]), False, "The label 5 has to be below 5, as n_classes=5 says"),
            (torch.zeros(2, 6).bool(), True, "The label 5 has to be below 5"),
        ],
    )
    def test_bad_ones(self, labels: Tensor, sets: bool, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            checked_labels(labels, 5, sets=sets)

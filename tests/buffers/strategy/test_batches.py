from typing import Any

import pytest
import torch

from redwood.buffers.merging import merged
from redwood.buffers.strategy.batches import in_new_containers, labels_of, tasks_of
from tests.buffers.strategy.batch_structures import Pair, alike


class TestParts:
    y, task = torch.tensor([1, 2]), torch.tensor([0, 0])

    @pytest.mark.parametrize("name", ["y", "label", "labels", "target", "targets"])
    def test_labels_by_name(self, name: str) -> None:
        assert labels_of({"x": torch.zeros(2), name: self.y}) is self.y

    @pytest.mark.parametrize("batch", [(torch.zeros(2), y), [torch.zeros(2), y], Pair(torch.zeros(2), y)])
    def test_labels_of_pairs(self, batch: Any) -> None:
        assert labels_of(batch) is self.y

    @pytest.mark.parametrize("batch", [torch.zeros(2), {"x": torch.zeros(2)}, (y, y, y), {"y": "cat"}, (y, [y])])
    def test_no_labels(self, batch: Any) -> None:
        assert labels_of(batch) is None

    @pytest.mark.parametrize("name", ["task", "tasks", "task_id", "task_ids"])
    def test_tasks_by_name(self, name: str) -> None:
        assert tasks_of({name: self.task}) is self.task
        assert tasks_of((self.y, self.task)) is None

    def test_merged_batches_have_the_structure_of_the_first(self) -> None:
        whole = merged(Pair(torch.zeros(2, 1), self.y), [torch.ones(1, 1), torch.tensor([3])])
        assert alike(whole, Pair(torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([1, 2, 3])))

    def test_shell_shares_tensors_only(self) -> None:
        batch = {"x": [self.y]}
        copy = in_new_containers(batch)
        batch["x"].append(self.task)
        assert len(copy["x"]) == 1
        assert copy["x"][0] is self.y

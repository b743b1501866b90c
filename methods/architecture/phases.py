"""Which phase's network answers for which row of a batch."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

NOT_TRAINED = -1


def rows_by_phase(task_id: Tensor, phase_of: Mapping[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Each phase, and the numbers of the rows (n,) whose task it trained; `NOT_TRAINED` for tasks of no phase.

    The rows of a phase go through its network together, and without those of tasks that were not trained yet: the last
    bits of a product depend on how many rows it has, and those of old tasks are to stay as they are.

    Args:
        task_id: Task of each row (B,). Of no row at all, one phase is returned.
        phase_of: The phase that trained each task.
    """
    phases = torch.tensor([phase_of.get(task, NOT_TRAINED) for task in task_id.tolist()], dtype=torch.long)
    for phase in phases.unique().tolist() or [NOT_TRAINED]:
        yield phase, (phases == phase).nonzero()[:, 0]

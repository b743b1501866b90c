"""Methods that answer for each task by the network of the phase that trained it."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from redwood.methods.lightning import LightningMethod
from redwood.methods.training.layers import evaluating
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import TaskIncrementalSetting

NOT_TRAINED = -1


def rows_by_phase(task_id: Tensor, phase_of: Mapping[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Each phase, and the numbers of the rows (n,) whose task it trained; `NOT_TRAINED` for tasks of no phase.

    The rows of a phase go through its network together, apart from the rows of tasks that were not trained yet. The
    last bits of a product depend on the number of rows, and those of old tasks must stay the same.

    Args:
        task_id: Task of each row (B,). Without any row, one phase is returned.
        phase_of: The phase that trained each task.
    """
    phases = torch.tensor([phase_of.get(task, NOT_TRAINED) for task in task_id.tolist()], dtype=torch.long)
    for phase in phases.unique().tolist() or [NOT_TRAINED]:
        yield phase, (phases == phase).nonzero()[:, 0]


@dataclass
class NetworkPerPhase(LightningMethod):
    """Answer for each task as the network did at the end of the phase that trained it, whatever was trained since.

    The networks share most of their weights. A subclass names what each phase has as its own: parameters and buffers.
    A phase of several tasks trains one network for all of them. The network of the latest phase answers for a task that
    was not trained yet.

    Attributes:
        phase_of: The phase that trained each task.
        own_values: For each phase that is over, its own parameters and buffers, by name.
    """

    target = TaskIncrementalSetting

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.phase_of: dict[int, int] = self.add_state("phase_of", {})
        self.own_values: list[dict[str, Tensor]] = self.add_state("own_values", [], buffer=True)

    def own_names(self) -> list[str]:
        """Names of the parameters and buffers that each phase has as its own."""
        return []

    @override
    def names_per_task(self) -> Collection[str]:
        return self.own_names()

    @abstractmethod
    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        """Scores (B, K) of samples (B, ...) by the network of a phase that is over, in evaluation mode."""

    def begin(self, phase: Phase) -> None:
        """Prepare to train `phase`; in a run that is resumed inside it, its state is loaded after this."""
        # In blurry streams a few samples of other tasks turn up: these have phases of their own.
        tasks = phase.task_classes or () if phase.task_id is None else (phase.task_id,)
        self.phase_of |= dict.fromkeys(tasks, self.phase_count)

    @override
    def fit(self, phase: Phase) -> None:
        self.begin(phase)
        super().fit(phase)
        self.close()

    def close(self) -> None:
        """Keep the network of the phase that is over."""
        state = self.network.state_dict()
        self.own_values.append({name: state[name].clone() for name in self.own_names()})

    @override
    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        assert task_id is not None
        x, task_id = x.to(self.device), task_id.to(self.device)
        rows, scores = [], []
        with evaluating(self.network):
            for phase, numbers in rows_by_phase(task_id, self.phase_of):
                rows.append(numbers.to(self.device))
                is_latest = phase in (NOT_TRAINED, len(self.own_values))
                chosen = x[rows[-1]]
                scores.append(self.network(chosen) if is_latest else self.scores_of_phase(chosen, phase))
        return self.heads.mask(torch.cat(scores)[torch.cat(rows).argsort()], task_id)

    @override
    def never_acted(self) -> str | None:
        if self.phase_count < 2:
            return "No task was protected from another one: this run has only one phase, and so one network."
        return super().never_acted()

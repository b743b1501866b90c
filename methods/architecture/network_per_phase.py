"""What methods have in common that answer for each task by the network that its phase has made."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from redwood.methods.lightning import LightningMethod
from redwood.methods.training.layers import evaluating
from redwood.settings.phase import Phase
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import TaskIncrementalSetting

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


@dataclass
class NetworkPerPhase(LightningMethod):
    """Answer for each task as the network did at the end of the phase that trained it, whatever was trained since.

    The networks share most of their weights; a subclass says which parameters and buffers each phase keeps a copy of.
    A phase of several tasks trains one network for all of them. A task that was not trained yet is answered by the
    network of the latest phase.

    Attributes:
        phase_of: The phase that trained each task.
        own_values: For each phase that is over what it keeps a copy of, by name.
    """

    target = TaskIncrementalSetting

    def configure(self, setting: SupervisedSetting) -> None:
        """Build the network; no task was trained yet."""
        super().configure(setting)
        self.phase_of: dict[int, int] = {}
        self.own_values: list[dict[str, Tensor]] = []

    def own_names(self) -> list[str]:
        """Names of the parameters and buffers that each phase keeps a copy of."""
        return []

    @abstractmethod
    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        """Scores (B, K) of samples (B, ...) by the network of a phase that is over, in evaluation mode."""

    def begin(self, phase: Phase) -> None:
        """Prepare to train `phase`; in a run that is resumed inside it, its state is loaded after this."""
        # In blurry streams a few samples of other tasks turn up: these have phases of their own.
        tasks = phase.task_classes or () if phase.task_id is None else (phase.task_id,)
        self.phase_of |= dict.fromkeys(tasks, self.phase_count)

    def fit(self, phase: Phase) -> None:
        """Train the network of one phase."""
        self.begin(phase)
        super().fit(phase)
        self.close()

    def close(self) -> None:
        """Keep the network of the phase that is over."""
        state = self.network.state_dict()
        self.own_values.append({name: state[name].clone() for name in self.own_names()})

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K), each sample's by the network of its task; see `rows_by_phase`."""
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

    def never_acted(self) -> str | None:
        """Earlier tasks are protected from the second phase on."""
        if self.phase_count < 2:
            return "No task was protected from another one: this run has only one phase, and so one network."
        return super().never_acted()

    def state_dict(self) -> dict[str, Any]:
        """The network's state, and what each phase keeps of its own."""
        own = {"phase_of": dict(self.phase_of), "values": list(self.own_values)}
        return super().state_dict() | {"per_phase": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        own = state["per_phase"]
        self.phase_of = dict(own["phase_of"])
        self.own_values = [{name: value.to(self.device) for name, value in values.items()} for values in own["values"]]

    def costs(self) -> dict[str, Any]:
        """The costs of training; the copies count as buffer."""
        costs = super().costs()
        copies = sum(value.nbytes for values in self.own_values for value in values.values())
        return costs | {"buffer_bytes": costs["buffer_bytes"] + copies}

"""PackNet for agents (Mallya & Lazebnik, 2018; Wolczyk et al., 2021, "Continual World")."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from redwood.core.checks import check_range
from redwood.methods.agents.actor import Decision
from redwood.methods.agents.agent import Agent
from redwood.methods.architecture.masked_update import (
    MaskedUpdate,
    empty_owner_map,
    frozen_entries,
    keep_largest,
    weights_until,
)
from redwood.methods.architecture.network_per_phase import NOT_TRAINED, rows_by_phase
from redwood.methods.base import Composition
from redwood.settings.base import Setting
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import TaskIncrementalRLSetting


@dataclass
class AgentPackNet(Agent):
    """Train the weights that are still free, give most of them up again, and freeze those that are kept.

    A task is answered by its own weights and those of the tasks before it, bit for bit as at its end. Only what decides
    the actions is shared out: critics, value functions and target networks serve training alone, and go on from task to
    task. In each layer the free weights of the smallest magnitude are pruned, which become 0 and free for the next
    task, and the kept ones are trained on without them; both happen within the step budget: pruning before the first
    rollout that lies within the last `retrain_share` of the steps, or at the end if there is none. Of the last layers,
    of biases and of a deviation that is a parameter each task has a copy of its own, all of which it trains.

    Attributes:
        owner: For each weight tensor that is shared out, by name, whose each entry is: 1 for the first phase, ...;
            0 if it is free.
        phase_of: The phase that trained each task.
        own_values: For each phase that is over its own copies, by name.
    """

    target = TaskIncrementalRLSetting
    composition: ClassVar[Composition] = Composition.ANYWHERE

    prune_share: float = 0.75  # share of each layer's free weights that a task gives up again
    retrain_share: float = 0.33  # share of a task's steps that come after pruning

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "prune_share", 0, 0.99)
        check_range(self, "retrain_share", 0, 0.99)

    def configure(self, setting: Setting) -> None:
        """Build the agent, all of whose weights are free."""
        super().configure(setting)
        decision = Decision(self)
        self._deciding = decision.weights()
        last = decision.last_layers()
        shared = {name: p for name, p in self._deciding.items() if p.dim() > 1 and name not in last}
        self.owner = {name: empty_owner_map(p) for name, p in shared.items()}
        self.phase_of: dict[int, int] = {}
        self.own_values: list[dict[str, Tensor]] = []
        self.pruned, self._mine = False, 1
        self._masked = MaskedUpdate(self._frozen)

    def _frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        for name, owner in self.owner.items():
            yield self._deciding[name], frozen_entries(owner, self._mine, pruned=self.pruned)

    def fit(self, phase: ReinforcementPhase) -> None:
        """Train what is free, prune on the way, and keep what is the task's own."""
        if phase.task_id is not None:
            self.phase_of[phase.task_id] = phase.index
        # In a run that is resumed inside the phase, its state is loaded after this.
        self.pruned, self._mine = False, phase.index + 1
        self._masked.freeze()
        super().fit(phase)
        if not self.pruned:
            self.prune()
        self.own_values.append(
            {name: p.detach().clone() for name, p in self._deciding.items() if name not in self.owner}
        )

    def before_rollout(self, phase: ReinforcementPhase) -> None:
        """Prune if it is time."""
        super().before_rollout(phase)
        if not self.pruned and phase.budget.left <= self.retrain_share * phase.budget.total:
            self.prune()

    def prune(self) -> None:
        """Keep the largest of each layer's free weights, and set the others to 0."""
        for name, owner in self.owner.items():
            keep_largest(self._deciding[name], owner, self._mine, self.prune_share)
        self.pruned = True
        self._masked.freeze()

    def after_step(self, optimizer: Optimizer) -> None:
        """Undo what the optimizer did to weights that are not to be changed."""
        super().after_step(optimizer)
        # Gradients of other losses may still be computed with weights that other optimizers move.
        self._masked.restore({p for group in optimizer.param_groups for p in group["params"]})

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """The best action for each observation, by the networks of its task."""
        assert task_id is not None
        rows, actions = [], []
        for phase, numbers in rows_by_phase(task_id, self.phase_of):
            rows.append(numbers)
            with self._networks_of(phase):
                actions.append(super().predict(x[numbers], task_id[numbers]))
        return torch.cat(actions)[torch.cat(rows).argsort()]

    @contextmanager
    def _networks_of(self, phase: int) -> Iterator[None]:
        """What decides the actions as it was at the end of a phase; as it is now for tasks of no phase."""
        if phase == NOT_TRAINED or phase >= len(self.own_values):
            yield
            return
        now = {name: p.data for name, p in self._deciding.items()}
        then = self.own_values[phase] | {
            name: weights_until(now[name], owner, phase + 1) for name, owner in self.owner.items()
        }
        try:
            for name, value in then.items():
                self._deciding[name].data = value
            yield
        finally:
            for name, value in now.items():
                self._deciding[name].data = value

    def state_dict(self) -> dict[str, Any]:
        """The agent's state, whose its weights are, and what each phase keeps of its own."""
        own = {
            "owner": dict(self.owner),
            "pruned": self.pruned,
            "mine": self._mine,
            "phase_of": dict(self.phase_of),
            "own_values": list(self.own_values),
        }
        return super().state_dict() | {"packnet": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().load_state_dict(state)
        own = state["packnet"]
        for part in (own["owner"], *own["own_values"]):
            if any(value.shape != self._deciding[name].shape for name, value in part.items()):
                raise ValueError("its shares are those of other weights")
        for name, owner in own["owner"].items():
            self.owner[name].copy_(owner)
        self.pruned, self._mine = bool(own["pruned"]), int(own["mine"])
        self.phase_of = {int(task): int(phase) for task, phase in own["phase_of"].items()}
        self.own_values = [{name: value.to(self.device) for name, value in part.items()} for part in own["own_values"]]
        self._masked.freeze()

    def costs(self) -> dict[str, Any]:
        """The agent's costs; the table of owners and the copies count as buffer."""
        costs = super().costs()
        held = [*self.owner.values(), *(value for values in self.own_values for value in values.values())]
        return costs | {"buffer_bytes": costs["buffer_bytes"] + sum(value.nbytes for value in held)}

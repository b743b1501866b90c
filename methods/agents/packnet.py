"""PackNet for agents (Mallya & Lazebnik, 2018; Wolczyk et al., 2021, "Continual World")."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.core.parts import refuse_unused
from redwood.core.state import State
from redwood.methods.agents.actor import Actor
from redwood.methods.agents.agent import Agent
from redwood.methods.architecture.masked_update import (
    FREE,
    MaskedUpdate,
    empty_owner_map,
    frozen_entries,
    keep_largest,
    weights_until,
)
from redwood.methods.architecture.network_per_phase import NOT_TRAINED, rows_by_phase
from redwood.methods.base import Composition
from redwood.methods.networks.check import check_shapes
from redwood.settings.rl.phase import ReinforcementPhase
from redwood.settings.rl.tree import ContinualRLSetting, TaskIncrementalRLSetting


@dataclass
class AgentPackNet(Agent):
    """Train the free weights on each task, prune most of them, and freeze the rest for good.

    A task is answered by its own weights and those of earlier tasks, bit for bit as at its end. Only the weights of the
    actor are shared out to tasks. Critics, value functions and target networks only serve training; every task
    trains them.

    In each layer the smallest free weights are pruned: they become 0, and free for the next task. The kept weights are
    then trained on without them. Both happen within the step budget. Pruning comes before the first rollout within the
    last `retrain_share` of the steps, or at the end if there is none. Each task has its own copy of the last layers, of
    biases and of a deviation that is a parameter, and trains all of it.

    With `equal_capacity`, a phase gives up the share n / (n + 1) of the free weights if n phases follow, as in
    Continual World. So each of N phases keeps 1 / N of the weights, and the last one keeps all that are left.

    Attributes:
        owner: For each shared weight tensor, by name, the owner of each entry: 1 for the first phase, ...; 0 if free.
        own_number: The number of the present phase in `owner`.
        pruned: Whether the present phase has pruned its weights.
        phase_of: The phase that trained each task.
        own_values: For each phase that is over, its own copies by name.
    """

    target = TaskIncrementalRLSetting
    without_second_phase: ClassVar[str] = "No task was protected from another one"
    composition: ClassVar[Composition] = Composition.ANYWHERE

    prune_share: float = 0.75  # share of each layer's free weights that a task gives up again
    equal_capacity: bool = False  # let each phase keep an equal part of the weights, so that the last phase prunes none
    retrain_share: float = 0.33  # share of a task's steps that come after pruning

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "prune_share", 0, 0.99)
        check_range(self, "retrain_share", 0, 0.99)
        if self.equal_capacity:
            refuse_unused(self, {"prune_share": "whose weights are shared out equally"}, "--equal_capacity true")

    @override
    def configure(self, setting: ContinualRLSetting) -> None:
        super().configure(setting)
        actor = Actor(self)
        self._weights = actor.weights()
        last = actor.last_layers()
        shared = {name: p for name, p in self._weights.items() if p.dim() > 1 and name not in last}
        self.owner = self.add_state("owner", {name: empty_owner_map(p) for name, p in shared.items()}, buffer=True)
        self.own_number = self.add_state("own_number", 1)
        self.pruned = self.add_state("pruned", False)
        self.phase_of = self.add_state("phase_of", dict[int, int]())
        self.own_values = self.add_state("own_values", list[dict[str, Tensor]](), buffer=True)
        self._masked = MaskedUpdate(self._frozen)

    def _frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        for name, owner in self.owner.items():
            yield self._weights[name], frozen_entries(owner, self.own_number, pruned=self.pruned)

    @override
    def names_per_task(self) -> Collection[str]:
        return [name for name in self._weights if name not in self.owner]

    @override
    def free_entries(self) -> Mapping[str, Tensor]:
        return {name: owner == FREE for name, owner in self.owner.items()}

    @override
    def load_state_dict(self, state: State) -> None:
        check_shapes(state["owner"], self.owner)
        for own_values in state["own_values"]:
            check_shapes(own_values, {name: p for name, p in self._weights.items() if name not in self.owner})
        super().load_state_dict(state)

    # Training.

    @override
    def fit(self, phase: ReinforcementPhase) -> None:
        if phase.task_id is not None:
            self.phase_of[phase.task_id] = phase.index
        self.pruned, self.own_number = False, phase.index + 1
        super().fit(phase)
        if not self.pruned:
            self.prune()
        self.own_values.append(
            {name: p.detach().clone() for name, p in self._weights.items() if name not in self.owner}
        )

    @override
    def learn(self, phase: ReinforcementPhase, steps: int) -> None:
        self._masked.freeze()  # only now is the state of a resumed phase loaded
        super().learn(phase, steps)

    @override
    def before_rollout(self, phase: ReinforcementPhase) -> None:
        super().before_rollout(phase)
        if not self.pruned and phase.budget.left <= self.retrain_share * phase.budget.total:
            self.prune()

    def prune(self) -> None:
        """Keep the largest of each layer's free weights, and set the others to 0."""
        left = self.run.num_phases - self.own_number
        share = left / (left + 1) if self.equal_capacity else self.prune_share
        for name, owner in self.owner.items():
            keep_largest(self._weights[name], owner, self.own_number, share)
        self.pruned = True
        self._masked.freeze()

    @override
    def after_step(self, optimizer: Optimizer) -> None:
        """Restore the frozen entries of the weights that this optimizer has changed.

        Weights of other optimizers stay: gradients of other losses may still be computed with them.
        """
        super().after_step(optimizer)
        self._masked.restore({p for group in optimizer.param_groups for p in group["params"]})

    @override
    def never_acted(self) -> str | None:
        reason = super().never_acted()
        if reason is None or self.equal_capacity or not self.prune_share:
            return reason
        return f"{reason.rstrip('.')}, in which --prune_share {self.prune_share} gave up weights for nothing."

    # Acting.

    @override
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Return the best action for each observation, by the networks of its task."""
        assert task_id is not None
        rows, actions = [], []
        for phase, numbers in rows_by_phase(task_id, self.phase_of):
            rows.append(numbers)
            with self._networks_of(phase):
                actions.append(super().predict(x[numbers], task_id[numbers]))
        return torch.cat(actions)[torch.cat(rows).argsort()]

    @contextmanager
    def _networks_of(self, phase: int) -> Iterator[None]:
        """Give the actor the weights that it had at the end of a phase; the present ones for tasks of no phase."""
        if phase == NOT_TRAINED or phase >= len(self.own_values):
            yield
            return
        now = {name: p.data for name, p in self._weights.items()}
        then = self.own_values[phase] | {
            name: weights_until(now[name], owner, phase + 1) for name, owner in self.owner.items()
        }
        try:
            for name, value in then.items():
                self._weights[name].data = value
            yield
        finally:
            for name, value in now.items():
                self._weights[name].data = value

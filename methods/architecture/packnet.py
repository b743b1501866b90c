"""PackNet (Mallya & Lazebnik, 2018, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning")."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.func import functional_call
from typing_extensions import override

from redwood.core.checks import check_range
from redwood.methods.architecture.masked_update import (
    FREE,
    MaskedUpdate,
    empty_owner_map,
    frozen_entries,
    keep_largest,
    weights_until,
)
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.methods.training.step import Step
from redwood.settings.streams.phase import Phase
from redwood.settings.supervised import SupervisedSetting


@dataclass
class PackNet(NetworkPerPhase):
    """Train the free weights, set most of them free again, and freeze the rest (section 3).

    A task is answered by its own weights and those of the tasks before it. In each layer the free weights of the
    smallest magnitude are pruned: they become 0, and free for the next task. The kept weights are trained on without
    them. Both happen within the passes over the task, the second in the last `retrain_share` of the steps.

    Each task has its own copy of the last layer, of biases, and of normalisation with its statistics, and trains all of
    these. In the paper biases and normalisation stay as the first task made them. When no weight is free any more, a
    task trains its copies alone, on top of the weights of earlier tasks.

    In one pass over a few dozen batches fine-tuning is better: little is forgotten, and later tasks gain from training
    the weights that PackNet freezes.

    Attributes:
        owner: For each pruned weight tensor, by name, the owner of each entry: 1 for the first phase, ..., 0 if free.
    """

    multi_label: ClassVar[bool] = True
    unused_options: ClassVar[Mapping[str, str]] = {
        "patience": "which prunes after a share of the steps that were planned"
    }

    prune_share: float = 0.75  # share of each layer's free weights that a task gives up again
    retrain_share: float = 0.33  # share of a task's training steps that come after pruning

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "prune_share", 0, 0.99)
        check_range(self, "retrain_share", 0, 0.99)

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        self.owner = self.add_state("owner", {name: empty_owner_map(p) for name, p in self._packed()}, buffer=True)
        self.pruned = self.add_state("pruned", False)
        self._frozen = MaskedUpdate(self.frozen)

    def _packed(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that tasks divide among themselves: those of all layers but the last."""
        linear = [part for part in self.network.modules() if isinstance(part, nn.Linear)]
        head = linear[-1].weight if linear else None
        for name, parameter in self.network.named_parameters():
            if parameter.dim() > 1 and parameter.requires_grad and parameter is not head:
                yield name, parameter

    @override
    def own_names(self) -> list[str]:
        # What is frozen from the start is the same for all tasks.
        frozen = {name for name, parameter in self.network.named_parameters() if not parameter.requires_grad}
        return [name for name in self.network.state_dict() if name not in self.owner and name not in frozen]

    @property
    def _mine(self) -> int:
        """The owner number of the phase in training."""
        return self.phase_count + 1

    def frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Entries that must not change: weights of earlier tasks; after pruning, all but the task's own."""
        for name, parameter in self._packed():
            yield parameter, frozen_entries(self.owner[name], self._mine, pruned=self.pruned)

    @override
    def free_entries(self) -> Mapping[str, Tensor]:
        return {name: owner == FREE for name, owner in self.owner.items()}

    @override
    def begin(self, phase: Phase) -> None:
        super().begin(phase)
        self.pruned = False

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._frozen.freeze()

    @override
    def on_batch_end(self, step: Step, loss: Tensor, batch_idx: int) -> None:
        super().on_batch_end(step, loss, batch_idx)
        self._frozen.restore()
        trainer = self.module.trainer
        steps = int(trainer.estimated_stepping_batches)
        if not self.pruned and trainer.global_step >= steps - int(self.retrain_share * steps):
            self.prune()

    def prune(self) -> None:
        """Keep the largest of each layer's free weights, and set the others to 0."""
        for name, parameter in self._packed():
            keep_largest(parameter, self.owner[name], self._mine, self.prune_share)
        self.pruned = True
        self._frozen.freeze()

    @override
    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        values = dict(self.own_values[phase])
        for name, parameter in self._packed():
            values[name] = weights_until(parameter, self.owner[name], phase + 1)
        scores: Tensor = functional_call(self.network, values, (x,))
        return scores

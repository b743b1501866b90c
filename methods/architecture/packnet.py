"""PackNet (Mallya & Lazebnik, 2018, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning")."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.func import functional_call

from redwood.core.checks import check_range
from redwood.methods.architecture.masked_update import empty_owner_map, frozen_entries, keep_largest, weights_until
from redwood.methods.architecture.network_per_phase import NetworkPerPhase
from redwood.settings.phase import Phase
from redwood.settings.supervised import SupervisedSetting

if TYPE_CHECKING:
    from pytorch_lightning import Callback


@dataclass
class PackNet(NetworkPerPhase):
    """Train the weights that are still free, give most of them up again, and freeze those that are kept (section 3).

    A task is answered by its own weights and those of the tasks before it. In each layer the free weights of the
    smallest magnitude are pruned, which become 0 and free for the next task; the kept ones are trained on without them.
    Both happen within the passes over the task, the latter in the last `retrain_share` of the steps. Of the last layer,
    of biases and of normalisation with its statistics each task has a copy of its own, all of which it trains; the
    paper leaves biases and normalisation as the first task made them. When no weight is free any more, these are what a
    task trains, on top of the weights of earlier ones.

    In one pass over a few dozen batches fine-tuning is better: little is forgotten, and later tasks gain from training
    weights that are frozen here.

    Attributes:
        owner: For each pruned weight tensor, by name, whose each entry is: 1 for the first phase, ..., 0 if it is free.
    """

    prune_share: float = 0.75  # share of each layer's free weights that a task gives up again
    retrain_share: float = 0.33  # share of a task's training steps that come after pruning

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "prune_share", 0, 0.99)
        check_range(self, "retrain_share", 0, 0.99)

    def configure(self, setting: SupervisedSetting) -> None:
        """Build the network, all of which is free."""
        from redwood.methods.architecture.frozen_weights import FrozenWeights

        super().configure(setting)
        self.owner = self.add_state("owner", {name: empty_owner_map(p) for name, p in self._packed()}, buffer=True)
        self.pruned = self.add_state("pruned", False)
        self._frozen = FrozenWeights(self.frozen)

    def _packed(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that tasks share out among them: those of all layers but the last."""
        linear = [part for part in self.network.modules() if isinstance(part, nn.Linear)]
        head = linear[-1].weight if linear else None
        for name, parameter in self.network.named_parameters():
            if parameter.dim() > 1 and parameter.requires_grad and parameter is not head:
                yield name, parameter

    def own_names(self) -> list[str]:
        """All but the weights that are shared out."""
        return [name for name in self.network.state_dict() if name not in self.owner]

    @property
    def _mine(self) -> int:
        """The owner that stands for the phase in training."""
        return self.phase_count + 1

    def frozen(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """What training must not change: weights of earlier tasks; after pruning all that is not the task's own."""
        for name, parameter in self._packed():
            yield parameter, frozen_entries(self.owner[name], self._mine, pruned=self.pruned)

    def callbacks(self) -> "Sequence[Callback]":
        """Further Lightning callbacks for each phase."""
        from redwood.methods.architecture.prune_after import PruneAfter

        return [*super().callbacks(), self._frozen, PruneAfter(self, self.retrain_share)]

    def begin(self, phase: Phase) -> None:
        """Train what is free."""
        super().begin(phase)
        self.pruned = False

    def prune(self) -> None:
        """Keep the largest of each layer's free weights, and set the others to 0."""
        for name, parameter in self._packed():
            keep_largest(parameter, self.owner[name], self._mine, self.prune_share)
        self.pruned = True
        self._frozen.freeze()

    def scores_of_phase(self, x: Tensor, phase: int) -> Tensor:
        """Scores (B, K) by the weights that this phase and earlier ones own."""
        values = dict(self.own_values[phase])
        for name, parameter in self._packed():
            values[name] = weights_until(parameter, self.owner[name], phase + 1)
        scores: Tensor = functional_call(self.network, values, (x,))
        return scores

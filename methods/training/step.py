"""One training step, from the batch of the stream to the loss: the record that all hooks of a method get.

`take_step` shows the step from top to bottom. What a hook makes for a later one it puts into the `Step`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from redwood.buffers.in_place import changes_of
from redwood.core.errors import BufferInputError, InvalidLossError
from redwood.core.short_traceback import name_of_file
from redwood.settings.batch import Batch
from redwood.settings.scores.answers import decisions

if TYPE_CHECKING:
    from redwood.methods.lightning import LightningMethod

# Layers that leave out whole branches in training: torchvision's and timm's names for stochastic depth.
DROPS_PATHS = frozenset({"StochasticDepth", "DropPath"})

# Stored samples (n, ...) by the name of the leaf: "x", "y", "task_id" where ids are given, and what a method adds.
Rows = dict[str, Tensor]


@dataclass(frozen=True)
class Replayed:
    """Samples that were drawn from a buffer, or generated, for one step.

    Attributes:
        rows: The samples (r, ...), by leaf, where the network is.
        slots: The slots (r,) that they lie in; empty (0,) if they come from the buffers of several workers, or from a
            generator.
        again: How many of them, the last ones, are of a second draw, where a method draws twice.
    """

    rows: Rows
    slots: Tensor
    again: int = 0

    @classmethod
    def of_draws(cls, draws: Sequence["Replayed"]) -> "Replayed":
        """The samples of one or two draws, one behind the other."""
        if len(draws) == 1:
            return draws[0]
        rows = {name: torch.cat([draw.rows[name] for draw in draws]) for name in draws[0].rows}
        return cls(rows, torch.cat([draw.slots for draw in draws]), again=len(draws[1]))

    def __len__(self) -> int:
        """Number of samples r."""
        return len(self.rows["y"])

    def __getitem__(self, name: object) -> NoReturn:
        """Raise `BufferInputError`, which says where the samples are."""
        example = f'step.replayed.rows["{name}"]' if isinstance(name, str) else 'step.replayed.rows["x"]'
        raise BufferInputError(f"Replayed samples lie in .rows, by the names {', '.join(self.rows)}; write {example}.")

    @property
    def n_first(self) -> int:
        """Number of samples of the first draw; they come first."""
        return len(self) - self.again


@dataclass(eq=False)
class Step:
    """One training step: the incoming batch, the replayed samples, and the batch of both.

    Attributes:
        incoming: The batch (b, ...) that the stream served, where the network is.
        on_host: The same batch as the stream served it, before it was moved to a GPU.
        first_pass: Whether the stream shows these samples for the first time.
        batch: The batch (B, ...) that is trained on: incoming samples first, then any others.
        replayed: Samples drawn from a buffer for this step; None if there are none.
        replayed_rows: Where in `batch` they are.
        generated: Samples that a generator made for this step; None if there are none.
        generated_rows: Where in `batch` they are.
        drawn_ahead: Rows that the asynchronous buffer prepared for all draws of this step.
        weights: The weight of each sample (B,) in the loss; None if all count alike.
        outputs: The network's outputs (B, K) for `batch`, before any mask; see `LightningMethod.outputs`.
        outputs_of: The samples (B, ...) that these are the outputs of.
        losses: The loss of each sample (B,), without a gradient; see `LightningMethod.losses`.
        unlabelled: Samples (u, ...) of the stream that stay without labels, where the network is; None: none do.
    """

    incoming: Batch
    on_host: Batch
    first_pass: bool
    batch: Batch
    replayed: Replayed | None = None
    replayed_rows: slice = field(default_factory=partial(slice, 0, 0))
    generated: Replayed | None = None
    generated_rows: slice = field(default_factory=partial(slice, 0, 0))
    drawn_ahead: Rows | None = None
    weights: Tensor | None = None
    outputs: Tensor | None = None
    outputs_of: Tensor | None = None
    losses: Tensor | None = None
    unlabelled: Tensor | None = None

    def __post_init__(self) -> None:
        self._changes = self._count_changes()

    def _count_changes(self) -> list[int]:
        return [changes_of(leaf) for leaf in self.incoming if leaf is not None]

    def check_unchanged(self) -> None:
        """Raise `BufferInputError` if the incoming samples are no longer those that the stream served."""
        if self._count_changes() != self._changes:
            raise BufferInputError(
                "The method or its network has changed the incoming samples in place before they were stored; "
                "change a copy, as clone() makes one."
            )

    def weigh(self, losses: Tensor) -> Tensor:
        """The losses (B,) of the samples of `batch`, times their weights."""
        return losses if self.weights is None else losses * self.weights

    @property
    def n_incoming(self) -> int:
        """Number of incoming samples b."""
        return len(self.incoming.y)

    @property
    def first_draw(self) -> slice:
        """The place in `batch` of the samples of the first draw; without replay, empty behind the incoming ones."""
        if self.replayed is None:
            return slice(self.n_incoming, self.n_incoming)
        start = self.replayed_rows.start
        return slice(start, start + self.replayed.n_first)

    def join(self, replayed: Replayed) -> slice:
        """Train on these samples, too: they follow those of `batch`. Returns where they are; their weight is 1."""
        batch, rows = self.batch, replayed.rows
        ids = None if batch.task_id is None else torch.cat([batch.task_id, rows["task_id"]])
        self.batch = Batch(torch.cat([batch.x, rows["x"]]), torch.cat([batch.y, rows["y"]]), ids)
        if self.weights is not None:
            self.weights = torch.cat([self.weights, self.weights.new_ones(len(replayed))])
        return slice(len(batch.y), len(self.batch.y))


def take_step(method: "LightningMethod", step: Step, scorer: "OnlineScorer") -> Tensor:
    """The loss (scalar) of one training step; the optimizer's part follows it.

    A first pass is scored by predictions that the method makes before it learns from the samples.

    Raises:
        InvalidLossError: If the method's `loss` returns no scalar tensor with a gradient.
    """
    method.augment(step)
    samples = method.change_images(step.batch.x)
    if samples is not step.batch.x:
        step.batch = step.batch._replace(x=samples)
    if step.first_pass and not scorer.reuses_outputs:
        scorer.score(step, outputs=None)
    samples = step.batch.x
    loss = method.loss(step)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise _no_loss(method, loss)
    if step.first_pass and scorer.reuses_outputs:
        scorer.score(step, step.outputs if step.outputs_of is samples else None)
    method.after_loss(step)
    return loss


def _no_loss(method: "LightningMethod", loss: object) -> InvalidLossError:
    """The error for what is no loss to train by; it names the class and the line of its `loss`."""
    owner = next(cls for cls in type(method).__mro__ if "loss" in vars(cls))
    code = getattr(vars(owner)["loss"], "__code__", None)
    if owner.__module__.startswith("redwood.") or code is None:
        name, place = type(method).__name__, ""
    else:
        name, place = owner.__name__, f" ({name_of_file(code.co_filename)}, line {code.co_firstlineno})"
    if not isinstance(loss, Tensor):
        told = "None" if loss is None else f"a {type(loss).__name__}"
    else:
        told = f"a tensor of shape {tuple(loss.shape)}" if loss.numel() != 1 else "a tensor without a gradient"
    return InvalidLossError(f"{name}.loss{place} returned {told}; return a scalar tensor that has a gradient.")


class OnlineScorer:
    """Prequential scoring of the incoming samples (Gama et al., 2013).

    Attributes:
        reuses_outputs: Whether the outputs that the loss needs anyway are what `predict` would return. They are not
            with augmentation, dropout or batch normalisation, nor if a method predicts in a way of its own. Then the
            scores take a forward pass of their own, before the loss.
    """

    def __init__(self, method: "LightningMethod", network: nn.Module) -> None:
        self._method = method
        changing = any(
            isinstance(layer, _BatchNorm | _DropoutNd) or type(layer).__name__ in DROPS_PATHS
            for layer in network.modules()
        )
        behaves_alike = not method.dropout and not changing
        self.reuses_outputs = behaves_alike and method.augmentation == "none" and method.predicts_by_network()

    def score(self, step: Step, outputs: Tensor | None) -> None:
        """Hand the predictions for the incoming samples to the phase, which counts the right ones.

        The method gets task ids only if the setting shows them at test, too.

        Args:
            step: The step.
            outputs: The network's outputs, of the incoming samples first; None: the method predicts once more.
        """
        if self._method.phase.asks:  # the predictions were asked for before the labels came
            return
        batch, heads = step.incoming, self._method.heads
        shown = batch.task_id if heads.active else None
        if outputs is not None:
            answer = outputs.detach()[: len(batch.y)]
            answer = answer if shown is None else heads.mask(answer, shown)
        else:
            with torch.no_grad():
                answer = self._method.predict(batch.x, shown)
        self._method.phase.score(decisions(answer, batch.y), batch)

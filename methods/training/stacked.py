"""Train one phase of several runs side by side: their networks as one, all else of each step run by run.

A method takes part if its class says so by `stackable = True`, which subclasses do not inherit. It promises that its
hooks draw nothing from the global random generators, and use neither the Trainer nor the module of a single run; and
that its loss takes the network's outputs from `outputs`, or from what calls it.

All hooks run for each seed by itself, in the order of `redwood.methods.training.step`. What the seeds share is one
forward and backward pass of all networks, and one optimizer, which has to work element by element.

The results are those of single runs within rounding: matrices of another shape are multiplied in another order.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from redwood.core.state import State
from redwood.engine.stack import NotStackableError
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.callbacks import TrainingLog, check_weights, usual_loss
from redwood.methods.training.optimizers import new_optimizer
from redwood.methods.training.stackable import why_not_now
from redwood.methods.training.stacked_network import StackedNetwork
from redwood.methods.training.step import CommonLosses, OnlineScorer, Step, loss_of, prepare
from redwood.settings.batch import Batch
from redwood.settings.phase import Phase

P = ParamSpec("P")


def train_stacked(methods: Sequence[LightningMethod], phases: Sequence[Phase]) -> list[Exception | None]:
    """Train each method on its phase, as `fit` does.

    Args:
        methods: Of one class with the same options, for which `why_not_stacked` returns None.
        phases: The phase of each; they may differ in their number of steps.

    Returns:
        The error that has ended the training of each method, else None; the others have gone on.

    Raises:
        NotStackableError: If networks or phases are no such that can be trained side by side.
    """
    reason = why_not_now(methods, phases)
    if reason is not None:
        raise NotStackableError(reason)
    seeds = [_Seed(method, phase) for method, phase in zip(methods, phases, strict=True)]
    for seed in seeds:
        seed.attempt(seed.start)
    training = _Training(seeds)
    try:
        while training.step():
            pass
    finally:
        training.release(training.seeds)
    return [seed.error for seed in seeds]


class _Seed:
    """One run in a stack: its position in its phase, and its hooks.

    Attributes:
        step: The step that it is in.
        loss: The loss (scalar) of this step; None if it failed, or was taken alone.
        error: What has ended its training, if it failed.
        is_over: Whether its training has ended.
    """

    def __init__(self, method: LightningMethod, phase: Phase) -> None:
        self.method, self._phase = method, phase
        self.step: Step | None = None
        self.loss: Tensor | None = None
        self.error: Exception | None = None
        self.is_over = False
        self._scorer = OnlineScorer(method, method.network)
        self._log = TrainingLog(method.run, usual_loss(method.setting.action_space))
        self._batches = self._all_batches()
        self._batch_idx = self._n_steps = 0
        self._loss_alone: Tensor | None = None  # without a gradient, of a step that was taken alone

    def attempt(self, action: Callable[P, None], *args: P.args, **options: P.kwargs) -> None:
        """Do a part of the training of this run, unless it has failed; an error ends this run alone."""
        if self.error is not None:
            return
        try:
            action(*args, **options)
        except Exception as error:
            self.error, self.loss = error, None

    def start(self) -> None:
        """The phase begins."""
        self.method.before_training(self._phase)
        self.method.flops.watch(self.method.network)
        self.method.on_train_start()

    def _all_batches(self) -> Iterator[tuple[int, Batch]]:
        for _ in range(self._phase.train.epochs):
            yield from enumerate(self._phase.train)

    def begin(self) -> None:
        """Begin the next step up to its complete batch, or end the training.

        A step whose operations are counted is taken alone: the counter sees all operations of this process.
        """
        method = self.method
        following = next(self._batches, None)
        if following is None:
            self.is_over = True
            self._log.end(self._n_steps)
            return
        self._batch_idx, batch = following
        method.flops.start_step()
        method.on_batch_start(self._batch_idx, len(self._phase.train))
        step = Step(incoming=batch, on_host=batch, first_pass=self._phase.train.first_pass, batch=batch)
        self.step, self.loss, self._loss_alone = step, None, None
        prepare(method, step, self._scorer)
        if method.flops.counting:
            loss = loss_of(method, step, self._scorer)
            loss.backward()  # type: ignore[no-untyped-call]
            method.after_backward(step)
            method.flops.end_step()
            self._loss_alone = loss.detach()

    @property
    def joins(self) -> bool:
        """Whether the step is taken with those of the others."""
        return self.error is None and self._loss_alone is None

    def make_loss(self, outputs: Tensor, losses: Tensor | None) -> None:
        """Make the loss of the step from what the stack has computed: outputs (B, K) and losses (B,)."""
        assert self.step is not None
        step = self.step
        self.method.flops.note(len(outputs))
        step.outputs, step.outputs_of = outputs, step.batch.x
        step.common_losses = None if losses is None else CommonLosses(step.batch.x, step.batch.y, losses)
        self.loss = loss_of(self.method, step, self._scorer)

    def after_backward(self) -> None:
        """The gradients are there."""
        assert self.step is not None
        if self._loss_alone is None:
            self.method.after_backward(self.step)
            self.method.flops.end_step()
        self.method.before_optimizer_step()

    def end(self) -> None:
        """The optimizer has taken the step."""
        loss = self._loss_alone if self.loss is None else self.loss.detach()
        assert loss is not None
        assert self.step is not None
        self._n_steps += 1
        self._log.note(self._n_steps, loss, may_be_last=self._n_steps == self._phase.steps)
        self.method.on_batch_end(self.step, loss, self._batch_idx)
        self.step = None

    def close(self) -> None:
        """The training is over, and the network has weights of its own."""
        self.method.flops.unwatch()
        if self.is_over:
            self.attempt(check_weights, self.method.network, self._n_steps)
            self.attempt(self.method.after_training, self._n_steps)


class _Training:
    """The common part of the steps.

    Attributes:
        seeds: The runs that still train, in the order of their networks in the stack.
    """

    def __init__(self, seeds: Sequence[_Seed]) -> None:
        self.seeds = list(seeds)
        self._first = seeds[0].method
        self._network = StackedNetwork([seed.method.network for seed in seeds])
        self._optimizer = new_optimizer(self._first, [{"params": self._network.weights}])
        self._losses_at_once = shares_losses(self._first)
        self._shows_gradients = reads_gradients(self._first)

    def step(self) -> bool:
        """Take one step of each run; whether there was one to take."""
        for weight in self._network.weights:
            weight.grad = None
        for seed in self.seeds:
            seed.attempt(seed.begin)
        self.release([seed for seed in self.seeds if seed.is_over or seed.error is not None])
        if not self.seeds:
            return False
        self._make_losses()
        losses = [seed.loss for seed in self.seeds if seed.loss is not None]
        if losses:
            torch.stack(losses).sum().backward()
        self._network.add_own_gradients()
        if self._shows_gradients:
            self._network.show_gradients()
        for index, seed in enumerate(self.seeds):
            seed.attempt(seed.after_backward)
            if self._shows_gradients:
                seed.attempt(self._network.take_gradients, index)
        self._clip()
        self._optimizer.step()
        for index, seed in enumerate(self.seeds):
            seed.attempt(seed.end)
            seed.attempt(self._network.check_weights, index)
        if self._shows_gradients:
            self._network.hide_gradients()
        return True

    def release(self, ended: Sequence[_Seed]) -> None:
        """Take runs out of the stack."""
        for seed in list(ended):
            before, index = self._network.weights, self.seeds.index(seed)
            self.seeds.remove(seed)
            self._network.release(index)
            if self.seeds:
                self._optimizer = self._without(index, before)
            seed.close()

    def _without(self, index: int, before: Sequence[nn.Parameter]) -> Optimizer:
        """The optimizer of the weights that are left, with its state of these."""
        smaller = new_optimizer(self._first, [{"params": self._network.weights}])
        for old, new in zip(before, self._network.weights, strict=True):
            others = [number for number in range(len(old)) if number != index]
            state: State = self._optimizer.state[old]
            smaller.state[new] = {
                name: value[others] if isinstance(value, Tensor) and value.shape == old.shape else value
                for name, value in state.items()
            }
        return smaller

    def _make_losses(self) -> None:
        joining = [seed for seed in self.seeds if seed.joins]
        if not joining:
            return
        batches = [seed.step.batch if seed.joins and seed.step is not None else None for seed in self.seeds]
        sizes = [0 if batch is None else len(batch.y) for batch in batches]
        outputs = self._network(_stacked([None if batch is None else batch.x for batch in batches], sizes))
        losses: Sequence[Tensor | None] = [None] * len(batches)
        if self._losses_at_once and all(batch is None or batch.y.dtype == torch.int64 for batch in batches):
            y = _stacked([None if batch is None else batch.y for batch in batches], sizes)
            flat = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
            losses = flat.view(len(batches), -1).unbind()
        for seed, size, own, loss in zip(self.seeds, sizes, outputs.unbind(), losses, strict=True):
            if seed.joins:
                seed.attempt(seed.make_loss, own[:size], None if loss is None else loss[:size])

    def _clip(self) -> None:
        method, weights = self._first, self._network.weights
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if method.clip_norm and gradients:
            norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
            factor = (method.clip_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1)
            for gradient in gradients:
                gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
        elif method.clip_value:
            nn.utils.clip_grad_value_(weights, method.clip_value)


def _stacked(parts: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor:
    """The tensors (B_s, ...) as one (S, B, ...), with zeros behind shorter ones and in the place of None."""
    given = [part for part in parts if part is not None]
    longest = max(sizes)
    if all(size == longest for size in sizes):
        return torch.stack(given)
    stacked = given[0].new_zeros(len(parts), longest, *given[0].shape[1:])
    for index, part in enumerate(parts):
        if part is not None:
            stacked[index, : sizes[index]] = part
    return stacked


def shares_losses(method: LightningMethod) -> bool:
    """Whether the losses of all samples are the cross-entropy of outputs that nothing masks or changes."""
    own = ("losses", "scores", "masked", "outputs", "forward")
    return not method.heads.active and all(getattr(type(method), n) is getattr(LightningMethod, n) for n in own)


def reads_gradients(method: LightningMethod) -> bool:
    """Whether a hook may look at the gradients of the network."""
    hooks = ("after_backward", "before_optimizer_step")
    return any(getattr(type(method), hook) is not getattr(LightningMethod, hook) for hook in hooks)

"""Asynchronous distributed rehearsal as a part of any Lightning strategy for data-parallel training."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from redwood.buffers.distributed.async_buffer import AsyncRehearsalBuffer
from redwood.buffers.distributed.peers import lost_workers, nccl_group
from redwood.buffers.pytree import flatten, unflatten
from redwood.buffers.strategy.arguments import check_arguments
from redwood.buffers.strategy.batches import in_new_containers, labels_of, merged, stored_part, tasks_of, tensors_of
from redwood.buffers.strategy.checkpoints import BufferCheckpoints
from redwood.buffers.strategy.collectives import CollectivesMixin
from redwood.buffers.strategy.saving import SavingMixin
from redwood.buffers.strategy.single_process import AloneMixin
from redwood.buffers.strategy.uneven_inputs import EpochEnds, EvenLoader, even_loader
from redwood.core.errors import BufferInputError

BUFFER_SIZE, REPLAY = 1000, 8


class RehearsalMixin(SavingMixin, AloneMixin, CollectivesMixin):
    """Adds representatives of what all workers have stored to each training batch.

    Once per batch (`on_train_batch_start`), the representatives that were prepared during the step before are taken,
    and the samples that came in are handed to the background, which stores them and prepares the next draw. The
    module's `training_step` gets the incoming samples followed by the representatives; callbacks, `on_train_batch_*`
    hooks and everything but training see the batch as it came. What `weight` says is applied to the loss before
    `backward`: the gradient is that of the mean over all workers' samples, though some may have fewer.

    Samples are stored as they come from the loader; replayed ones go through `on_after_batch_transfer` again. All
    tensors of a batch are stored. What is no tensor, such as a list of names, is not: it stays as it came, and tells
    of the incoming samples alone, which are the first ones of each tensor.

    Attributes:
        memory: The buffer. To go on with it in another `fit`, hand it to the next strategy as `buffer=`.
        replayed: What was drawn for this step, as it was stored; None if nothing was.
        replayed_extras: Of the replayed ones: what the module handed in with `remember` when they were new.
    """

    def __init__(
        self,
        buffer_size: int = BUFFER_SIZE,
        replay: int = REPLAY,
        candidates: int | None = None,
        *,
        policy: Any = None,
        sampler: Any = "uniform",
        tier: str = "auto",
        directory: str | None = None,
        seed: int = 0,
        overlap: bool = True,
        labels: Callable[[Any], Tensor | None] = labels_of,
        tasks: Callable[[Any], Tensor | None] = tasks_of,
        extras: Sequence[str] = (),
        buffer: AsyncRehearsalBuffer | None = None,
        timeout: timedelta | None = None,
        **strategy: Any,
    ) -> None:
        """Choose the options, which have to be the same on all workers.

        Args:
            buffer_size: Samples stored, over all workers.
            replay: Representatives r added to each worker's batch.
            candidates: See `AsyncRehearsalBuffer`, as for `policy`, `sampler`, `tier`, `directory`, `seed`, `overlap`.
            policy: Which samples are kept.
            sampler: What is drawn.
            tier: Where samples are kept.
            directory: Folder of the file of the tier `mmap`.
            seed: Seed of all decisions.
            overlap: False: exchange within the step.
            labels: Finds the labels (B,) of a batch, for policies and samplers that go by classes.
            tasks: Finds the tasks (B,) of a batch, for samplers that go by tasks.
            extras: Names of further leaves of a sample that the module hands in with `remember`.
            buffer: Go on with this one, the `memory` of an earlier strategy, instead of a new one.
            timeout: How long to wait for other workers, in all collectives; default: as torch's.
            **strategy: Passed on to the Lightning strategy.

        Raises:
            ValueError: If an argument is out of range.
            TypeError: If there is no argument of that name, or it is of another kind.
        """
        check_arguments(type(self), strategy, buffer=buffer, extras=extras, timeout=timeout, labels=labels, tasks=tasks)
        if timeout is not None:
            strategy["timeout"] = timeout
        super().__init__(**strategy)
        self.memory = buffer or AsyncRehearsalBuffer(
            buffer_size,
            replay=replay,
            candidates=candidates,
            policy=policy,
            sampler=sampler,
            tier=tier,
            directory=directory,
            seed=seed,
            overlap=overlap,
        )
        self._rehearsal_timeout = timeout
        self._labels, self._tasks, self._extra_names = labels, tasks, tuple(extras)
        self._checkpoints = BufferCheckpoints(self.memory, timeout)
        self.replayed_extras: dict[str, Tensor] = {}
        self._raw: Any = None
        self._structure: Any = None
        self.replayed: Any = None
        self._transferred: Any = None  # the same as the hook has left it
        self._unstored: tuple[Any, Any] | None = None  # what is to be stored of a batch, and the batch
        self._told: dict[str, Tensor] = {}
        self._even: EvenLoader | None = None
        self._is_repeated = False
        self._epochs = EpochEnds(timeout)

    # What a subclass may change.

    def samples_of(self, batch: Any) -> Any:
        """The part of a batch that is stored and replayed: a tree of tensors (B, ...); default: all tensors of it."""
        return tensors_of(batch)

    def merge(self, batch: Any, replayed: Any) -> Any:
        """What to train on: the batch, and replayed samples as `samples_of` returned them."""
        return merged(batch, replayed)

    def is_offered(self, batch: Any) -> bool:
        """Whether the samples of a batch are to be stored, too."""
        return True

    def more_leaves(self, batch: Any) -> dict[str, Tensor]:
        """Further leaves (b, ...) of the incoming samples of a batch, once their forward pass is over."""
        if self._told.keys() != set(self._extra_names):
            raise BufferInputError(
                f"training_step has to hand in {', '.join(self._extra_names)} with strategy.remember."
            )
        return self._told

    def rows_of(self, samples: Any, more: dict[str, Tensor]) -> Any:
        """What is stored: samples as `samples_of` returned them, with further leaves."""
        return (samples, more) if self._extra_names else samples

    # What a module may call.

    def remember(self, **extras: Tensor) -> None:
        """Hand in further leaves (b, ...) of the incoming samples, from within `training_step`.

        Raises:
            ValueError: If these are not the ones announced as `extras=`.
        """
        if set(extras) != set(self._extra_names):
            raise BufferInputError(
                f"remember was given {', '.join(extras)}, but the strategy was told extras={self._extra_names!r}."
            )
        self._told = {name: leaf.detach() for name, leaf in extras.items()}

    # Lightning's hooks.

    @property
    def _trainer(self) -> Any:
        return self.lightning_module.trainer  # type: ignore[attr-defined]

    def setup_environment(self) -> None:
        """Join the other workers, and prepare the draw that a loaded buffer had ready."""
        super().setup_environment()  # type: ignore[misc]
        if self._trainer.state.fn != "fit":
            return
        _refuse_dataloader_iter(self.lightning_module)  # type: ignore[attr-defined]
        device: torch.device = self.root_device  # type: ignore[attr-defined]
        self.memory.open(
            device=device,
            rows_group=nccl_group(device),
            timeout=self._rehearsal_timeout,
        )

    def process_dataloader(self, dataloader: Any) -> Any:
        """Let all workers have equally many training batches."""
        dataloader = super().process_dataloader(dataloader)  # type: ignore[misc]
        loop = self._trainer.fit_loop
        is_for_training = self._trainer.training and (loop._combined_loader is None or loop._should_reload_train_dl)
        if is_for_training and not self._is_alone:
            dataloader = even_loader(dataloader, self._epochs.tell)
            self._even = dataloader if isinstance(dataloader, EvenLoader) else None
        return dataloader

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """Move a batch, and keep it as it was before if it is a training batch."""
        if self._trainer.training and self.memory.peers is not None:
            # On the host, the hook gets the tensors that are stored, and may change them in place.
            self._is_repeated = self._even is not None and self._even.take()
            shared = self.root_device.type == "cpu"  # type: ignore[attr-defined]
            copied = shared and _overridden(self._trainer, "on_after_batch_transfer") is not None
            part = None if batch is None else stored_part(self.samples_of(batch))
            self._raw = in_new_containers(part, copied=copied)
        return super().batch_to_device(batch, device, dataloader_idx)  # type: ignore[misc]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Take the representatives of this step, and hand in its samples."""
        super().on_train_batch_start(batch, batch_idx)  # type: ignore[misc]
        self._transferred = None
        if self._trainer.fit_loop._skip_backward:  # batch-norm statistics of averaged weights: no step of training
            self.replayed = None
            return
        self.write_rest()
        self.replayed = self.memory.collect()
        raw, self._raw = self._raw, None
        self._structure = unflatten(raw, iter(range(len(list(flatten(raw))))))
        is_new = not self._is_repeated
        self.memory.propose(
            raw,
            labels=self._labels(raw),
            tasks=self._tasks(raw),
            offered=is_new and self.is_offered(batch),
            counted=is_new,
        )
        self._unstored = raw if self._store_from_host() else self.samples_of(batch), batch
        self.log_costs()
        if not self._is_late():
            self.write_rest()

    def _store_from_host(self) -> bool:
        # As they came from the loader; on the GPU they are, too, if nothing has been done to them there.
        return not self.memory.on_gpu or _overridden(self._trainer, "on_after_batch_transfer") is not None

    def _is_late(self) -> bool:
        """Whether samples are stored after the forward pass: it tells leaves, or is to be launched on the GPU first."""
        return bool(self._extra_names) or self.root_device.type == "cuda"  # type: ignore[attr-defined,no-any-return]

    def write_rest(self) -> None:
        """Hand in the samples of this step, if that has not been done yet."""
        unstored, self._unstored = self._unstored, None
        if unstored is not None:
            samples, batch = unstored
            self.memory.write(self.rows_of(samples, self.more_leaves(batch)))
            self._told = {}

    def training_step(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Train on the incoming samples followed by the representatives."""
        replayed, self.replayed_extras = self.replayed, {}
        if self._extra_names and replayed is not None:
            replayed, self.replayed_extras = replayed
        if replayed is not None:
            hook = _overridden(self._trainer, "on_after_batch_transfer")
            if hook is not None and self._transferred is None:  # a loaded buffer does not know the types of tuples
                leaves = iter([leaf for _, leaf in flatten(replayed)])
                self._transferred = hook(unflatten(self._structure, leaves), 0)
            batch = self.merge(batch, replayed if hook is None else self._transferred)
        output = super().training_step(batch, *args, **kwargs)  # type: ignore[misc]
        self.write_rest()
        return output

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Weigh the loss by the samples that this worker trains on; see `AsyncRehearsalBuffer.weight`."""
        if self._told.keys() == set(self._extra_names):  # backward by hand, from within training_step
            self.write_rest()
        weight = self.memory.weight()
        if weight != 1.0:
            closure_loss = closure_loss * weight
        with lost_workers(), self._no_gradients() if weight == 0.0 else nullcontext():
            return super().backward(closure_loss, *args, **kwargs)  # type: ignore[misc,no-any-return]

    @contextmanager
    def _no_gradients(self) -> Iterator[None]:
        """Let the backward pass within add nothing to any gradient, even if the loss is not finite: 0 * nan is nan.

        It takes place all the same, since the other workers wait for its gradients.
        """
        parameters = [p for p in self.lightning_module.parameters() if p.requires_grad]  # type: ignore[attr-defined]
        hooks = [parameter.register_hook(torch.zeros_like) for parameter in parameters]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def on_train_end(self) -> None:
        """Wait for what is under way."""
        super().on_train_end()  # type: ignore[misc]
        self.write_rest()
        self.memory.flush()
        self._checkpoints.wait()

    def on_exception(self, exception: BaseException) -> None:
        """Leave the other workers at once, so that they end, too."""
        self._unstored = None
        self.memory.abort()
        self._epochs.leave()
        self._checkpoints.wait_after_error()
        super().on_exception(exception)  # type: ignore[misc]

    def teardown(self) -> None:
        """Leave the other workers; the buffer stays."""
        self.memory.close()
        self._epochs.leave()
        self._checkpoints.close()
        super().teardown()  # type: ignore[misc]

    def log_costs(self) -> None:
        """Log what rehearsal costs, as often as the Trainer logs."""
        trainer = self._trainer
        if trainer.loggers and trainer.global_step and trainer.global_step % trainer.log_every_n_steps == 0:
            costs = {f"rehearsal/{name}": value for name, value in self.memory.profiler.costs().items()}
            costs["rehearsal/stored"] = len(self.memory.buffer)
            for logger in trainer.loggers:
                logger.log_metrics(costs, step=trainer.global_step)


def _overridden(trainer: Any, hook: str) -> Callable[..., Any] | None:
    """A hook of the data module, or else of the module, if either overrides Lightning's."""
    for owner in (trainer.datamodule, trainer.lightning_module):
        method = getattr(owner, hook, None)
        if method is not None and not method.__module__.startswith(("pytorch_lightning.", "lightning.")):
            return method  # type: ignore[no-any-return]
    return None


def _refuse_dataloader_iter(module: Any) -> None:
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        raise BufferInputError(
            "training_step(dataloader_iter) takes its batches by itself, so that no samples can be added to them; "
            "write training_step(batch, batch_idx)."
        )

"""The Lightning Trainer of one phase."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning_fabric.utilities import registry
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, Strategy, StrategyRegistry
from typing_extensions import override

from redwood.core.errors import InvalidPredictionError
from redwood.core.schema import ANYTHING, ListOf, MapOf, Number, Record, Text, check
from redwood.core.state import State
from redwood.engine.checkpoints import RESTART_PHASE, read_checkpoint, write_checkpoint
from redwood.engine.launch import cluster_environment
from redwood.methods.lightning import LightningMethod
from redwood.methods.training.callbacks import CheckpointInsidePhase, TrainingHooks, TrainingLog, usual_loss
from redwood.methods.training.early_stopping import EarlyEnd
from redwood.methods.training.lean_loop import LeanEpochLoop, callbacks_of, suits


def make_trainer(
    method: LightningMethod, workers: int, strategy: Strategy | str, more_callbacks: Sequence[Callback]
) -> Trainer:
    """A Trainer for one phase: one that has trained already would stop at once (`max_epochs` is reached)."""
    run, phase = method.run, method.phase
    log = TrainingLog(run, usual_loss(method.setting.action_space))
    hooks = TrainingHooks(method, method.flops, method.network, log)
    callbacks: list[Callback] = [hooks, *more_callbacks]
    if method.patience:
        callbacks.append(EarlyEnd(method.network, method.patience, method.setting.action_space, run.reporter))
    if run.saves_inside_phases:
        callbacks.append(CheckpointInsidePhase(run, phase.index, log))
    with known_entry_points():
        trainer = Trainer(
            accelerator=run.accelerator,
            devices=run.device_numbers(workers),
            num_nodes=run.nodes,
            precision=run.precision,  # type: ignore[arg-type]
            strategy=strategy,
            max_epochs=phase.train.epochs,
            gradient_clip_val=method.clipping.limit,
            gradient_clip_algorithm=method.clipping.algorithm,
            accumulate_grad_batches=method.accumulate_grad_batches,
            callbacks=callbacks,
            plugins=[SealedIO(), cluster_environment()],
            logger=False,
            profiler=NoProfiler(),
            enable_checkpointing=run.saves_inside_phases,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            # Not the run directory or the current one: under SLURM, Lightning loads an `hpc_ckpt_*` that it finds.
            default_root_dir=os.devnull if run.directory is None else run.directory / "lightning",
        )
    # Signals are the run's affair: Lightning's handler of SIGTERM may hang, as it sends messages to other workers.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if method.lean_loop and suits(trainer, method.module):
        lightning_loop = trainer.fit_loop.epoch_loop
        trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, lightning_loop.min_steps, lightning_loop.max_steps)
    return trainer


@contextmanager
def telling_divergence(trainer: Trainer) -> Iterator[None]:
    """Train within: answers that cannot be scored are told as diverged training, if they come of it."""
    try:
        yield
    except InvalidPredictionError:
        for hooks in callbacks_of(trainer):
            if isinstance(hooks, TrainingHooks):
                hooks.check(trainer.global_step)
        raise


_entry_points = cache(entry_points)


@contextmanager
def known_entry_points() -> Iterator[None]:
    """Within, a Trainer takes the callbacks of other packages' entry points from a search made once per process.

    Otherwise, it would read the metadata of all installed packages each time. This took most of the time of a phase
    outside its steps.
    """
    vars(registry)["entry_points"] = _entry_points
    try:
        yield
    finally:
        vars(registry)["entry_points"] = entry_points


class Apart(DDPStrategy):
    """Several workers that exchange no gradients: each trains a network of its own, step by step with the others."""

    @override
    def configure_ddp(self) -> None:
        """Leave the module as it is, without the wrapper that averages gradients."""


if "apart" not in StrategyRegistry:
    StrategyRegistry.register("apart", Apart, description=Apart.__doc__ or "")


class NoProfiler(PassThroughProfiler):
    """Measures nothing, for nothing.

    Lightning opens a context of its profiler around each of some thirty hooks a step. That of `PassThroughProfiler` is
    a generator, new each time: 2 % of the time of a small network's step.
    """

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """The same empty context for every action."""
        return self._nothing


_COUNT, _STATE = Number(low=0, whole=True), MapOf(ANYTHING)
_WORKER = Record({"method": _STATE, "phase": _STATE, "random": _STATE, "seconds": Number(low=0)})
# What is read of a checkpoint; strategies and plugins may add to it.
_CONTENT = Record(
    {
        "epoch": _COUNT,
        "global_step": _COUNT,
        "pytorch-lightning_version": Text(),
        "state_dict": _STATE,
        "loops": _STATE,
        "callbacks": _STATE,
        "optimizer_states": ListOf(_STATE),
        "lr_schedulers": ListOf(_STATE),
        "redwood": ListOf(_WORKER, least=1),
    }
)


class SealedIO(TorchCheckpointIO):
    """Lightning's files of tensors and plain values; it would unpickle local files itself."""

    def save_checkpoint(self, checkpoint: State, path: str | Path, storage_options: object = None) -> None:
        """Write the file atomically."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, map_location: object = None, weights_only: bool | None = None) -> State:
        """Read it onto the CPU; Lightning moves what belongs elsewhere.

        Raises:
            RedwoodError: If it is damaged, or no checkpoint inside a phase.
        """
        content = read_checkpoint(Path(path), RESTART_PHASE)
        known = {name: content.get(name) for name in _CONTENT.entries}
        check(known, _CONTENT, f"The checkpoint {path}", RESTART_PHASE)
        return content

"""The part of `gpu.py` that trains by `Trainer` and `AsyncRehearsalStrategy`: steps, resuming, the loss of a worker."""

import json
import logging
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from gpu_checks import CLASSES, random_batch
from gymnasium.spaces import Box
from overlap_cases import Case, rotated
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from redwood.buffers import AsyncRehearsalBuffer, AsyncRehearsalStrategy
from redwood.methods.networks import slim_resnet18

# Samples stored, and shape of an image. Untimed steps of each turn: rows of the tier `auto` have their place by then.
STORED, SHAPE, LEAD = 2048, (3, 32, 32), 5
# The step in which a worker is killed, of how many; seconds in which the others have to notice, and to end.
KILL_AT, KILL_STEPS, TIMEOUT_S, LIMIT_S = 6, 10_000, 20, 240


logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Images(LightningModule):
    """Trains `slim_resnet18` on images of bytes, which it augments after the transfer.

    Attributes:
        marks: The start of each step, as `mark` notes it.
    """

    def __init__(self, mark: Callable[[], Any] = time.perf_counter, *, small: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net: nn.Module = slim_resnet18(Box(0, 1, SHAPE), CLASSES)
        if small:
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES))
        self.marks: list[Any] = []
        self._mark = mark

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mirror half of the images, and scale all."""
        x, y = batch
        mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        return [(torch.where(mirrored, x.flip(-1), x).float() - 127.5) / 64, y]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Note the time."""
        self.marks.append(self._mark())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss."""
        x, y = batch
        return cross_entropy(self.net(x), y)

    def configure_optimizers(self) -> Any:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def loader_of(batch: int, steps: int) -> DataLoader[Any]:
    """A loader of so many batches of random images."""
    samples = random_batch(batch * steps, SHAPE)
    return DataLoader(TensorDataset(samples["x"], samples["y"]), batch, pin_memory=torch.cuda.is_available())


def trainer_of(device: torch.device, strategy: Any = "auto", **options: Any) -> Trainer:
    """A Trainer on one device that keeps quiet."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    place = {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}
    return Trainer(**{**quiet, **place, "enable_model_summary": False, "strategy": strategy, **options})


def trainer_turns(case: Case, clock: Any, device: torch.device) -> dict[str, list[dict[str, Any]]]:
    """Turns of all variants of a case, each with a buffer that it keeps; see `overlap_report.Measured`."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in case.variants}
    buffers: dict[str, AsyncRehearsalBuffer] = {}
    for number in range(-1, case.blocks):  # libraries set themselves up in the first round
        for name in rotated(list(case.variants), max(number, 0)):
            variant: Any = case.variants[name]
            strategy: Any = "auto"
            if variant.tier:
                options = {"tier": variant.tier, "overlap": variant.overlap, "buffer": buffers.get(name)}
                strategy = AsyncRehearsalStrategy(STORED, case.replay, **options)
                buffers[name] = strategy.memory
            module = Images(clock.mark, small=device.type == "cpu")
            waited = buffers[name].profiler.seconds["wait"] if name in buffers else 0.0
            trainer = trainer_of(device, strategy, max_epochs=1)
            trainer.fit(module, loader_of(variant.n, LEAD + case.steps + 1))
            clock.wait()
            parts = {}
            if name in buffers:
                waited = buffers[name].profiler.seconds["wait"] - waited
                parts = {"host wait": 1e3 * waited / len(module.marks)}
            times = [clock.milliseconds(*pair) for pair in pairwise(module.marks[LEAD:])]
            if number >= 0:
                found[name].append({"times": times, "cpu": 0.0, "parts": parts, "timeline": []})
    return found


class _Saving(Checkpoint):
    """Saves after the first epoch, while training goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self._path)


def weights_resumed_differently(device: torch.device, tiers: tuple[str, ...]) -> list[str]:
    """The tiers in which a run that is resumed does not come to the weights of the run that was not interrupted."""
    found = []
    for tier in tiers:
        weights = []
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder, "a.ckpt")
            for options in ({"callbacks": [_Saving(path)], "enable_checkpointing": True}, {}):
                strategy = AsyncRehearsalStrategy(200, 8, tier=tier)
                trainer = trainer_of(device, strategy, max_epochs=2, deterministic=True, **options)
                # Noise would come from a generator whose state Lightning does not save.
                module = Images(small=device.type == "cpu")
                module.on_after_batch_transfer = _scaled  # type: ignore[method-assign]
                trainer.fit(module, loader_of(24, 10), ckpt_path=None if options else path)
                weights.append([parameter.detach().cpu() for parameter in module.parameters()])
        if not all(map(torch.equal, *weights)):
            found.append(tier)
    return found


def _scaled(batch: Any, dataloader_idx: int) -> Any:
    x, y = batch
    return [(x.float() - 127.5) / 64, y]


class _Killing(Callback):
    """Kills its own process in the middle of training."""

    def on_train_batch_end(self, *args: Any) -> None:
        if args[-1] == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def _train_until_one_is_killed(rank: int, world: int, folder: str, port: int, on_gpu: bool, backend: str) -> None:
    started = {"RANK": rank, "WORLD_SIZE": world, "GROUP_RANK": rank, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    if backend == "nccl":
        address["CUDA_VISIBLE_DEVICES"] = rank
    os.environ.update({name: str(value) for name, value in {**started, **address, "GLOO_SOCKET_IFNAME": "lo"}.items()})
    warnings.simplefilter("ignore")
    strategy = AsyncRehearsalStrategy(200, 8, timeout=timedelta(seconds=TIMEOUT_S), process_group_backend=backend)
    callbacks = [_Killing()] if rank == world - 1 else []
    device = torch.device("cuda" if on_gpu else "cpu")
    trainer = trainer_of(device, strategy, num_nodes=world, max_epochs=1, callbacks=callbacks)
    begun, error = time.monotonic(), "none"
    try:
        trainer.fit(Images(small=not on_gpu), loader_of(8, KILL_STEPS if not callbacks else 4 * KILL_AT))
    except BaseException as raised:
        error = type(raised).__name__
    Path(folder, str(rank)).write_text(json.dumps({"error": error, "seconds": time.monotonic() - begun}))
    os._exit(0)  # whatever the other worker has left behind


def loss_of_a_worker(device: torch.device) -> str:
    """What becomes of one worker once another one is killed, over NCCL if there are several GPUs."""
    on_gpu, world = device.type == "cuda", 2
    backend = "nccl" if on_gpu and torch.cuda.device_count() > 1 else "gloo"
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        port = 20_000 + os.getpid() % 20_000
        processes = [
            context.Process(target=_train_until_one_is_killed, args=(rank, world, folder, port, on_gpu, backend))
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(LIMIT_S)
            process.kill()  # nobody is left behind
        told = Path(folder, "0")
        if not told.exists():
            return f"over {backend}, the other one DID NOT END within {LIMIT_S} seconds"
        fate = json.loads(told.read_text())
    return f"over {backend}, the other one ended with {fate['error']} after {fate['seconds']:.0f} seconds"

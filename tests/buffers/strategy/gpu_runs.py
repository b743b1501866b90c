"""Runs of a Trainer, with all that Lightning offers, on a GPU that is not there or on the host."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.utils.data import DataLoader

from redwood.buffers.distributed.checkpoint import read_checkpoint, write_checkpoint
from redwood.buffers.strategy import checkpoints, rehearsal
from redwood.buffers.strategy.strategy import AsyncRehearsalStrategy
from tests.buffers.distributed.fake_gpu import FakeGpu, FakeTensor
from tests.buffers.distributed.fake_training import held_until_forward, trainers_on
from tests.buffers.distributed.gpu_lives import NCCL, joined_by_nothing
from tests.buffers.strategy.plain_modules import Numbers, strategy_of, trainer_of

BATCH, STEPS, CLASSES, WIDTH = 4, 5, 3, 80


class Failure(Exception):
    """What a step raises in the middle of a run."""


class Plain(LightningModule):
    """Changes its batch in place once it needs it no more, as the callback `Spoiling` does.

    Attributes:
        seen: What each step was trained on, where training is.
        calls: How often the loss was computed.
        fails_at: The call that raises `failure`.
    """

    options: ClassVar[dict[str, Any]] = {}  # of the Trainer
    extras: tuple[str, ...] = ()
    failure: type[Exception] = Failure

    def __init__(self, gpu: FakeGpu | None, *, fails_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, CLASSES))
        self.seen: list[Tensor] = []
        self.fails_at, self.calls, self._gpu = fails_at, 0, gpu

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def loss(self, batch: Any) -> Tensor:
        self.seen += [batch["x"].clone(), batch["y"].clone()]
        x = batch["x"].float()
        logits = self.net(x * 2 if self._gpu is None else self._gpu.launch_forward(x))
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.failure
        loss = self.criterion(logits, batch)
        batch["x"].mul_(3)
        return loss

    def criterion(self, logits: Tensor, batch: Any) -> Tensor:
        return cross_entropy(logits, batch["y"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(self.net(batch["x"].float()).detach())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    @staticmethod
    def samples(numbers: list[int]) -> Any:
        """The samples of these numbers, as a loader yields them."""
        ids = torch.tensor(numbers)
        return {"x": torch.sin(ids[:, None] * torch.arange(1.0, WIDTH + 1)), "y": ids % CLASSES}

    @classmethod
    def loader(cls) -> Any:
        """The loader of training samples."""
        numbers = Numbers(range(BATCH * STEPS - 1))  # the last batch has one sample fewer
        return DataLoader(numbers, BATCH, collate_fn=cls.samples, pin_memory=True)


class Augmented(Plain):
    """Stores bytes, and augments them after the transfer."""

    @staticmethod
    def samples(numbers: list[int]) -> Any:
        ids = torch.tensor(numbers)
        return {"x": (ids[:, None] + torch.arange(WIDTH)).to(torch.uint8), "y": ids % CLASSES}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        batch["x"] = batch["x"] / 64 + torch.rand(len(batch["x"]), 1, device=batch["x"].device)
        batch["y"].add_(1).sub_(1)
        return batch


class Transferred(Plain):
    """Brings its batches to the device by itself, in place of Lightning."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return {name: leaf.to(device, non_blocking=True) for name, leaf in batch.items()}


class Accumulated(Plain):
    """Steps its optimizer after every other batch."""

    options: ClassVar[dict[str, Any]] = {"accumulate_grad_batches": 2, "gradient_clip_val": 1.0}


class Manual(Plain):
    """Steps two optimizers by hand, one of them twice."""

    def __init__(self, gpu: FakeGpu | None, *, fails_at: int = -1) -> None:
        super().__init__(gpu, fails_at=fails_at)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        own = {name: leaf.clone() for name, leaf in batch.items()}
        for optimizer, samples in zip(optimizers, (batch, own), strict=True):
            optimizer.zero_grad()
            self.manual_backward(self.loss(samples))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net[0], self.net[2])]


class Distilling(Plain):
    """Hands in its logits, and is trained on those of replayed samples."""

    extras = ("logits",)

    def criterion(self, logits: Tensor, batch: Any) -> Tensor:
        strategy: Any = self.trainer.strategy
        old = strategy.replayed_extras.get("logits")
        n = len(logits) - (0 if old is None else len(old))
        handed_in = logits[:n].detach().clone()
        strategy.add_extras(logits=handed_in)
        handed_in.zero_()
        loss = super().criterion(logits, batch)
        return loss if old is None else loss + mse_loss(logits[n:], old)  # which keeps `old` for the backward pass


class Joined(Plain):
    """Trains on the batches of two loaders at once."""

    @classmethod
    def loader(cls) -> Any:
        return {"left": super().loader(), "right": super().loader()}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch["left"]) + self.loss(batch["right"])


TRAININGS = {
    "plain": Plain,
    "augmented": Augmented,
    "transferred": Transferred,
    "accumulated": Accumulated,
    "manual": Manual,
    "distilling": Distilling,
    "joined": Joined,
}


class Spoiling(Callback):
    """Changes the incoming batch in place once its step is over."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        for part in batch.values() if isinstance(module, Joined) else [batch]:
            for leaf in part.values():
                leaf.mul_(0)


class Looking(Callback):
    """Keeps what is stored when training begins."""

    def on_train_start(self, trainer: Any, module: Any) -> None:
        buffer = trainer.strategy.memory.buffer
        module.seen += [leaf.clone() for leaf in _leaves(buffer.all())] if len(buffer) else []


class Saving(Checkpoint):
    """Saves after the first epoch, and once more in the middle of the next one; training goes on meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self._path)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1:
            trainer.save_checkpoint(self._path.with_name("later.ckpt"))


@dataclass(frozen=True)
class Run:
    """How a strategy is used.

    Attributes:
        training: One of `TRAININGS`.
        tier: Where rows are.
        world: Workers that share the buffer; the second one only answers.
        nccl: Whether these exchange rows on the GPU.
        overlap: Whether rows are exchanged in the background.
    """

    training: str = "plain"
    tier: str = "cuda"
    world: int = 1
    nccl: bool = False
    overlap: bool = True


class Lives:
    """Fits, saves, fails, resumes and fits again, beside a GPU or in host memory; notes all that came of it."""

    def __init__(self, run: Run, gpu: FakeGpu | None) -> None:
        self._run, self._gpu, self.kind = run, gpu, TRAININGS[run.training]
        self.seen: list[Tensor] = []

    def strategy(self, **options: Any) -> AsyncRehearsalStrategy:
        tier = "host" if self._gpu is None else self._run.tier
        known: dict[str, Any] = {"tier": tier, "overlap": self._run.overlap, "extras": self.kind.extras}
        return strategy_of(**known, **options)

    def fit(
        self, strategy: AsyncRehearsalStrategy, *callbacks: Callback, fails_at: int = -1, ckpt: Path | None = None
    ) -> Plain:
        """Train for two epochs, with validation in the middle of each."""
        module = self.kind(self._gpu, fails_at=fails_at)
        trainer = trainer_of(
            strategy,
            accelerator="cpu" if self._gpu is None else "gpu",
            devices=1,
            max_epochs=2,
            val_check_interval=2,
            enable_checkpointing=bool(callbacks),
            callbacks=[Spoiling(), Looking(), *callbacks],
            **self.kind.options,
        )
        checking = DataLoader(Numbers(range(BATCH)), BATCH, collate_fn=Plain.samples)
        with contextlib.suppress(Failure):
            trainer.fit(module, self.kind.loader(), checking, ckpt_path=ckpt)
        self.seen += [*module.seen, *(parameter.detach().clone() for parameter in module.parameters())]
        return module

    def note(self, strategy: AsyncRehearsalStrategy) -> None:
        """Note what is stored, and how often it was drawn."""
        buffer = strategy.memory.buffer
        self.seen += [*(leaf.clone() for leaf in _leaves(buffer.all())), buffer.draw_counts().clone()]

    def whole(self, folder: Path) -> None:
        """All of it."""
        folder.mkdir()
        path = folder / "a.ckpt"
        strategy = self.strategy()
        self.fit(strategy, Saving(path))
        self.note(strategy)
        again = self.strategy(buffer=strategy.memory)
        self.fit(again)
        self.note(again)
        self.fit(self.strategy(), fails_at=3)
        resumed = self.strategy()
        self.fit(resumed, ckpt=path)
        self.note(resumed)


def _leaves(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
        return
    for part in tree.values() if isinstance(tree, dict) else tree:
        yield from _leaves(part)


@contextlib.contextmanager
def workers_of(run: Run) -> Iterator[None]:
    """Let the buffers of a run find workers that are joined by nothing."""
    group = mock.patch.object(rehearsal, "rows_group", lambda *_: NCCL if run.nccl else None)
    # The second one has nothing to save.
    files = mock.patch.multiple(
        checkpoints,
        write_checkpoint=lambda snapshot, folder, *_: write_checkpoint(snapshot, folder, 0, 1, None),
        read_checkpoint=lambda folder, buffer, *_: read_checkpoint(folder, buffer, 0, 1),
    )
    with joined_by_nothing(run.world), group, files:
        yield


@contextlib.contextmanager
def beside(run: Run, gpu: FakeGpu | None) -> Iterator[None]:
    """Let Trainers use a GPU, and other workers, that are not there."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(workers_of(run))
        if gpu is not None:
            stack.enter_context(trainers_on(gpu))
            stack.enter_context(held_until_forward(gpu))
        yield


def lived(run: Run, folder: Path, gpu: FakeGpu | None) -> list[Tensor]:
    """What all runs are trained on, store and learn."""
    with beside(run, gpu):
        lives = Lives(run, gpu)
        lives.whole(folder)
    return [leaf.on_cpu if isinstance(leaf, FakeTensor) else leaf for leaf in lives.seen]

"""LightningModules that know nothing of rehearsal, and what they see of it."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from redwood.buffers.strategy.strategy import AsyncRehearsalStrategy
from tests.buffers.helpers import features_of

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
N_CLASSES = 3
ACCELERATOR = "cpu"  # of Trainers; the fixture `accelerator` changes it


def batch_of(ids: Sequence[int]) -> dict[str, Tensor]:
    """Samples of these numbers."""
    numbers = torch.tensor(list(ids))
    return {"id": numbers, "x": features_of(numbers), "y": numbers % N_CLASSES}


def loader_of(ids: Iterable[int], batch_size: int = 4, shuffled_by: int | None = None) -> DataLoader[Any]:
    """A loader of samples of these numbers, in this order or in a random one."""
    order = None if shuffled_by is None else torch.Generator().manual_seed(shuffled_by)
    return DataLoader(Numbers(ids), batch_size, shuffle=order is not None, generator=order, collate_fn=batch_of)


def loader_of_batches(sizes: Sequence[int], start: int = 0) -> DataLoader[Any]:
    """A loader of batches of these sizes, of samples numbered from `start`."""
    ends = [sum(sizes[: step + 1]) for step in range(len(sizes))]
    batches = [list(range(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    return DataLoader(Numbers(range(start, start + sum(sizes))), batch_sampler=batches, collate_fn=batch_of)


class Resumable:
    """A loader that goes on in the middle of an epoch where its state was saved."""

    def __init__(self, batches: Sequence[Sequence[int]]) -> None:
        self._batches, self._next = batches, 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        for number in range(self._next, len(self._batches)):
            self._next = (number + 1) % len(self._batches)
            yield batch_of(self._batches[number])

    def state_dict(self) -> dict[str, int]:
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._next = state["next"]


class Numbers(Dataset[int]):
    """Samples that are told by their numbers."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids = list(ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> int:
        return self._ids[index]


class Stranger(LightningModule):
    """A classifier that notes the numbers of the samples that it sees.

    Attributes:
        came: Those that the hooks around a step see, step by step.
        trained: Those that `training_step` sees, call by call.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, N_CLASSES))
        self.came: list[list[int]] = []
        self.trained: list[list[int]] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.came.append(batch["id"].tolist())

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.trained.append(batch["id"].tolist())
        return self.loss(batch)

    def loss(self, batch: Any) -> Tensor:
        assert torch.equal(batch["x"].float(), features_of(batch["id"]).to(batch["x"].dtype).float())
        assert torch.equal(batch["y"], batch["id"] % N_CLASSES)
        return cross_entropy(self.net(batch["x"]), batch["y"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    @property
    def incoming(self) -> list[list[int]]:
        """The samples of each call that came in with it."""
        return [ids[: len(came)] for came, ids in zip(self.came, self.trained, strict=True)]

    @property
    def replayed(self) -> list[list[int]]:
        """The samples of each call that were drawn."""
        return [ids[len(came) :] for came, ids in zip(self.came, self.trained, strict=True)]

    @property
    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters()]


def trainer_of(strategy: Any, **options: Any) -> Trainer:
    """A trainer of as many workers as there are that keeps quiet."""
    world = dist.get_world_size() if dist.is_initialized() else 1
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    common = {"accelerator": ACCELERATOR, "devices": world, "max_epochs": 1, "enable_model_summary": False}
    return Trainer(**{**quiet, **common, "use_distributed_sampler": False, "strategy": strategy, **options})


def strategy_of(**options: Any) -> AsyncRehearsalStrategy:
    return AsyncRehearsalStrategy(**{"buffer_size": 30, "replay": 3, **options})


def rank() -> int:
    """Number of this worker."""
    return dist.get_rank() if dist.is_initialized() else 0


def stored(strategy: AsyncRehearsalStrategy) -> list[int]:
    """Numbers of the samples that this worker stores, ascending."""
    samples = strategy.memory.buffer.all()
    assert torch.equal(samples["x"], features_of(samples["id"]).to(samples["x"].dtype))
    return sorted(samples["id"].tolist())


BATCHES = [list(range(start, min(start + 4, 18))) for start in range(0, 18, 4)]


def is_complete(module: Stranger, epochs: int = 1) -> bool:
    """Whether a module saw all batches once per epoch, with three more samples in all steps but the first."""
    drawn = [len(ids) for ids in module.replayed]
    return module.incoming == epochs * BATCHES and drawn == [0] + [3] * (len(drawn) - 1)

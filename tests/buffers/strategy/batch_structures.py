"""Batches of any structure, and a module that trains on them."""

from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.buffers.helpers import features_of
from tests.buffers.strategy.plain_modules import Numbers

EPOCH = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


def x_of(ids: Tensor) -> Tensor:
    """Inputs (n, 5): the number of the sample, and its features."""
    return torch.cat([ids[:, None].float(), features_of(ids)], 1)


@dataclass
class Record:
    x: Tensor
    y: Tensor


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "pair": lambda ids: (x_of(ids), ids % 3),
    "list": lambda ids: [x_of(ids), ids % 3],
    "named": lambda ids: Pair(x_of(ids), ids % 3),
    "dict": lambda ids: {"x": x_of(ids), "y": ids % 3},
    "nested": lambda ids: {"views": (x_of(ids), x_of(ids) / 2), "about": [ids % 3, {"id": ids}]},
    "tensor": x_of,
    "mapping": lambda ids: UserDict({"x": x_of(ids), "y": ids % 3}),
    "record": lambda ids: Record(x_of(ids), ids % 3),
}


def first_leaf(batch: Any) -> Tensor:
    while not isinstance(batch, Tensor):
        if is_dataclass(batch):
            batch = vars(batch)
        batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
    return batch


def loader_as(form: str, n: int = 10) -> DataLoader[int]:
    return DataLoader(Numbers(range(n)), 4, collate_fn=lambda ids: FORMS[form](torch.tensor(ids)))


def alike(a: Any, b: Any) -> bool:
    """Whether two trees have the same types and tensors."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a.cpu(), b.cpu())
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return alike(vars(a), vars(b))
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(alike(a[name], b[name]) for name in a)
    return len(a) == len(b) and all(map(alike, a, b))


class Keeping(LightningModule):
    """Trains on batches of any form, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 1)
        self.batches: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.batches.append(batch)
        return self.net(first_leaf(batch)).square().mean()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-4)

    @property
    def ids(self) -> list[list[int]]:
        return [first_leaf(batch)[:, 0].long().tolist() for batch in self.batches]

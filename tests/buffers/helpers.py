"""Streams whose samples tell their number, and what is done with them."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from redwood.buffers import Policy, RehearsalBuffer
from redwood.buffers.policies import CandidateInfo


def features_of(ids: Tensor) -> Tensor:
    """Features (n, 4) that follow from the numbers of the samples; the sines of a GPU differ in the last bit."""
    return torch.sin(ids.cpu()[:, None] * torch.tensor([1.0, 2.3, 3.7, 5.1]) + 1).to(ids.device)


def losses_of(ids: Tensor) -> Tensor:
    """Losses (n,) that follow from the numbers of the samples."""
    return (ids * 0.6180339) % 1


def score(samples: Any) -> Tensor:
    """Scores (n,) of samples, for samplers that need them."""
    return losses_of(samples["id"])


def feed(buffer: RehearsalBuffer, labels: Tensor, batch_size: int = 10, start: int = 0) -> None:
    """Offer samples numbered from `start`, of these labels; tasks have two classes each."""
    for first in range(0, len(labels), batch_size):
        y = labels[first : first + batch_size]
        ids = torch.arange(start + first, start + first + len(y))
        batch = {"id": ids, "y": y, "task_id": y // 2}
        buffer.add(batch, losses=losses_of(ids), features=features_of(ids))


def fill(buffer: RehearsalBuffer, n: int, batch_size: int = 10, start: int = 0) -> None:
    """Offer samples numbered from `start`, of one class."""
    feed(buffer, torch.zeros(n, dtype=torch.int64), batch_size, start)


def stored(buffer: RehearsalBuffer) -> list[int]:
    """Numbers of the samples stored, ascending."""
    return sorted(buffer.all()["id"].tolist())


def run(policy: Policy, labels: Tensor, capacity: int, batch_size: int, seed: int = 0) -> list[int]:
    """Which arrival each slot holds after a stream of these labels (n,) or label sets (n, L)."""
    policy.bind(capacity, seed)
    slots: dict[int, int] = {}
    for first in range(0, len(labels), batch_size):
        y = labels[first : first + batch_size]
        ids = torch.arange(first, first + len(y))
        positions, taken = policy.propose(CandidateInfo(len(y), y, losses=losses_of(ids), features=features_of(ids)))
        assert len(set(taken.tolist())) == len(taken)
        slots.update(zip(taken.tolist(), (positions + first).tolist(), strict=True))
    assert sorted(slots) == list(range(policy.size))
    return [slots[slot] for slot in range(policy.size)]


def class_sizes(policy: Policy, labels: Tensor, capacity: int, batch_size: int, seed: int = 0) -> Counter[int]:
    """How many samples of each class are kept."""
    return Counter(labels[run(policy, labels, capacity, batch_size, seed)].tolist())


def shuffled(labels: list[int], seed: int = 0) -> Tensor:
    """The labels in random order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(labels)[order]


def equal(a: Any, b: Any) -> bool:
    """Whether two states are the same, tensors included."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(equal(a[name], b[name]) for name in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def unchanged(buffer: RehearsalBuffer, action: Callable[[], object]) -> Callable[[], None]:
    """An action that may fail, and a look at the buffer afterwards: it has to be as it was before."""

    def checked() -> None:
        before, n_bytes = buffer.state_dict(), buffer.nbytes
        try:
            action()
        finally:
            assert equal(buffer.state_dict(), before)
            assert buffer.nbytes == n_bytes

    return checked

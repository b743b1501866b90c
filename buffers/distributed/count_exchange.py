"""The exchange of counts in every step: how many rows of which groups each worker stores."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.distributed.peers import Peers
from redwood.buffers.randomness import Array, integers
from redwood.buffers.samplers.counts import GroupCounts
from redwood.core.errors import BufferInputError

# Fingerprint, incoming samples, current task, twice the number of changed groups, plus one from a worker that asks
# for the end.
HEAD = 4
FIRST_WIDTH = 8
# Steps in which room for changes is kept after it was last needed.
KEPT = 64


class WorkerCounts(NamedTuple):
    """The counts of all workers.

    Attributes:
        incoming: Number of samples (N,) that each worker trains on beside the replayed ones.
        group_counts: Number of rows that each worker stores, by group; the next exchange changes them in place.
        ends: Whether a worker asks for the end of training.
    """

    incoming: Tensor
    group_counts: GroupCounts
    ends: bool


class CountTable:
    """The counts of all workers, put together from their changes."""

    def __init__(self, world: int) -> None:
        """Start with workers that store nothing."""
        # Calls of NumPy cost less than those of torch, whose kernels are for more numbers.
        self._groups: Array = np.empty(0, dtype=np.int64)
        self._counts: Array = np.zeros((world, 0), dtype=np.int64)

    def update(self, messages: Tensor) -> WorkerCounts:
        """The counts of all workers after the changes of a step.

        Args:
            messages: The message of each worker (N, W): the head, and ids and new counts of changed groups in turns.

        Raises:
            ValueError: If the workers do not store the same kind of rows.
        """
        numbers = messages.numpy()
        heads = numbers[:, :HEAD]
        strangers = np.flatnonzero(heads[:, 0] != heads[0, 0])
        if len(strangers):
            raise BufferInputError(
                f"Worker {int(strangers[0])} and worker 0 do not store the same leaves in the same way; "
                "give all of them samples of one structure, shape and dtype, and the same options."
            )
        if (heads[:, 3] > 1).any():
            names, counts = numbers[:, HEAD::2], numbers[:, HEAD + 1 :: 2]
            workers, places = (np.arange(names.shape[1]) < heads[:, 3:] // 2).nonzero()
            self._change(workers, names[workers, places], counts[workers, places])
        group_counts = GroupCounts(torch.from_numpy(self._groups), torch.from_numpy(self._counts), messages[:, 2])
        return WorkerCounts(messages[:, 1], group_counts, bool((heads[:, 3] % 2).any()))

    def _change(self, workers: Array, names: Array, counts: Array) -> None:
        groups = np.union1d(self._groups, names)
        if len(groups) > len(self._groups):
            grown = np.zeros((len(self._counts), len(groups)), dtype=np.int64)
            grown[:, np.searchsorted(groups, self._groups)] = self._counts
            self._groups, self._counts = groups, grown
        columns = np.searchsorted(self._groups, names)
        self._counts[workers, columns] = counts
        emptied = np.unique(columns[counts == 0])
        emptied = emptied[~self._counts[:, emptied].any(axis=0)]
        if len(emptied):  # nobody stores a row of these any more
            is_kept = np.ones(len(self._groups), dtype=np.bool)
            is_kept[emptied] = False
            self._groups, self._counts = self._groups[is_kept], self._counts[:, is_kept]


class CountExchange:
    """Exchanges a few numbers per worker and step, with one collective.

    A worker sends the counts that have changed since it sent them last; in the first step these are all. A message has
    room for a number of them. When one worker has more, all workers make room at once, which takes a second collective
    in that step. The room shrinks again when no worker has needed it for some steps.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._table = CountTable(peers.world)
        self._sent: dict[int, int] = {}
        self._needed: deque[int] = deque([1], maxlen=KEPT)

    def exchange(
        self, fingerprint: int, incoming: int, current: int, groups: Mapping[int, int], *, ends: bool = False
    ) -> WorkerCounts:
        """Send the counts of this worker to all others, and receive theirs.

        Args:
            fingerprint: A number of the layout of the rows and of the settings of the draws.
            incoming: Number of samples that this worker trains on beside the replayed ones.
            current: The task that it trains, or -1.
            groups: Its number of rows of each group.
            ends: Whether it asks for the end of training.

        Raises:
            ValueError: If the workers do not store the same kind of rows.
            WorkerLostError: If another worker does not take part.
        """
        if self._peers.world == 1:
            ids = sorted(groups)
            counts = integers([groups[group] for group in ids])
            known = GroupCounts(integers(ids), counts[None], integers([current]))
            return WorkerCounts(integers([incoming]), known, ends)
        changes = dict(groups.items() - self._sent.items())
        changes |= dict.fromkeys(self._sent.keys() - groups.keys(), 0)
        room = room_for(max(self._needed))
        while True:
            entries = [number for entry in sorted(changes.items())[:room] for number in entry]
            head = fingerprint, incoming, current, 2 * len(changes) + ends
            message = integers([*head, *entries, *[0] * (2 * room - len(entries))])
            messages = self._peers.gather(message)
            most = int(messages.numpy()[:, 3].max()) // 2
            if most <= room:
                break
            room = room_for(most)
        self._sent = dict(groups)
        self._needed.append(most)
        return self._table.update(messages)


def room_for(n: int) -> int:
    """Number of groups that a message has room for, so that `n` fit."""
    return 1 if n <= 1 else max(FIRST_WIDTH, 1 << (n - 1).bit_length())

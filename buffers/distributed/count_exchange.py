"""The exchange of counts in every step: how many rows of which groups each worker stores."""

from typing import NamedTuple

import torch
from torch import Tensor

from redwood.buffers.distributed.peers import Peers
from redwood.buffers.randomness import integers
from redwood.buffers.samplers.counts import GroupCounts
from redwood.core.errors import BufferInputError

# Fingerprint, incoming samples, current task, number of groups.
_HEAD = 4
FIRST_WIDTH = 8


class WorkerCounts(NamedTuple):
    """The counts of all workers.

    Attributes:
        incoming: Number of samples (N,) that each worker trains on beside the replayed ones.
        group_counts: Number of rows that each worker stores, by group.
    """

    incoming: Tensor
    group_counts: GroupCounts


class CountExchange:
    """Exchanges a few numbers per worker and step, with one collective.

    A message has room for a number of groups. When one worker has more groups, all workers double the room at once,
    which takes a second collective in that step.
    """

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._room = 1

    def exchange(self, fingerprint: int, incoming: int, current: int, groups: dict[int, int]) -> WorkerCounts:
        """Send the counts of this worker to all others, and receive theirs.

        Args:
            fingerprint: A number of the layout of the rows and of the settings of the draws.
            incoming: Number of samples that this worker trains on beside the replayed ones.
            current: The task that it trains, or -1.
            groups: Its number of rows of each group.

        Raises:
            ValueError: If the workers do not store the same kind of rows.
            WorkerLostError: If another worker does not take part.
        """
        if self._peers.world == 1:
            ids = sorted(groups)
            counts = integers([groups[group] for group in ids])
            return WorkerCounts(integers([incoming]), GroupCounts(integers(ids), counts[None], integers([current])))
        head = [fingerprint, incoming, current, len(groups)]
        while True:
            entries = [number for entry in sorted(groups.items())[: self._room] for number in entry]
            message = torch.zeros(_HEAD + 2 * self._room, dtype=torch.int64)
            message[: _HEAD + len(entries)] = torch.tensor(head + entries)
            messages = self._peers.gather(message)
            most = int(messages[:, 3].max())
            if most <= self._room:
                return _worker_counts(messages)
            self._room = max(FIRST_WIDTH, 1 << (most - 1).bit_length())


def _worker_counts(messages: Tensor) -> WorkerCounts:
    strangers = (messages[:, 0] != messages[0, 0]).nonzero()
    if len(strangers):
        raise BufferInputError(
            f"Worker {int(strangers[0])} and worker 0 do not store the same leaves in the same way; "
            "give all of them samples of one structure, shape and dtype, and the same options."
        )
    names, counts = messages[:, _HEAD::2], messages[:, _HEAD + 1 :: 2]
    n = int(messages[0, 3])
    is_same = bool((messages[:, 3] == n).all()) and bool((names == names[0]).all())
    if is_same:  # all workers store the same groups, as in most steps
        return WorkerCounts(messages[:, 1], GroupCounts(names[0, :n], counts[:, :n], messages[:, 2]))
    filled = torch.arange(names.shape[1]) < messages[:, 3:4]
    groups, columns = names[filled].unique(return_inverse=True)
    table = torch.zeros(len(messages), len(groups), dtype=torch.int64)
    table[filled.nonzero()[:, 0], columns] = counts[filled]
    return WorkerCounts(messages[:, 1], GroupCounts(groups, table, messages[:, 2]))

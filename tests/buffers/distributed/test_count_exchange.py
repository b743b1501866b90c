"""Workers send changes of their counts, and know the same as if they sent all counts in every step."""

from collections.abc import Iterator
from itertools import count
from queue import Queue
from threading import Thread
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from redwood.buffers.distributed.count_exchange import FIRST_WIDTH, HEAD, KEPT, CountExchange
from redwood.buffers.distributed.peers import Peers
from redwood.core.errors import BufferInputError

WORLD = 3


class Post:
    """Workers in threads; each `gather` waits for the messages of all of them."""

    def __init__(self) -> None:
        self.world = WORLD
        self.inbox: Queue[tuple[int, Tensor]] = Queue()
        self.outboxes: list[Queue[Tensor]] = [Queue() for _ in range(WORLD)]
        self.widths: list[int] = []

    def peers(self, rank: int) -> Peers:
        post = self

        class Stub:
            world = WORLD

            def gather(self, message: Tensor) -> Tensor:
                post.inbox.put((rank, message))
                return post.outboxes[rank].get(timeout=20)

        return cast(Peers, Stub())

    def deliver(self) -> None:
        """Serve one collective."""
        messages = dict(self.inbox.get(timeout=20) for _ in range(WORLD))
        assert len({len(message) for message in messages.values()}) == 1
        self.widths.append((len(messages[0]) - HEAD) // 2)
        for outbox in self.outboxes:
            outbox.put(torch.stack([messages[rank] for rank in range(WORLD)]))


def exchanged(steps: list[list[dict[int, int]]], fingerprints: tuple[int, ...] = (5,) * WORLD) -> Iterator[Any]:
    """What each worker knows after each step, and the widths of the messages of the step."""
    post = Post()
    exchanges = [CountExchange(post.peers(rank)) for rank in range(WORLD)]
    for step, groups in enumerate(steps):
        found: dict[int, Any] = {}

        def work(rank: int, step: int = step, groups: Any = groups, found: Any = found) -> None:
            try:
                ends = (rank, step) == (WORLD - 1, 1)
                counts = exchanges[rank].exchange(
                    fingerprints[rank], 10 * rank + step, rank - 1, groups[rank], ends=ends
                )
                table = counts.group_counts.counts.clone()
                found[rank] = counts._replace(group_counts=counts.group_counts._replace(counts=table))
            except BufferInputError as error:
                found[rank] = error

        post.widths.clear()
        threads = [Thread(target=work, args=(rank,)) for rank in range(WORLD)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            if post.inbox.qsize() >= WORLD:
                post.deliver()
            threads[0].join(0.001)
        yield found, list(post.widths)


def check(steps: list[list[dict[int, int]]]) -> list[list[int]]:
    """The widths of the messages of each step, once all workers know all counts."""
    widths = []
    for step, groups, (found, width) in zip(count(), steps, exchanged(steps), strict=False):
        names = sorted(set().union(*groups))
        table = [[mine.get(name, 0) for name in names] for mine in groups]
        for known in found.values():
            assert known.incoming.tolist() == [10 * rank + step for rank in range(WORLD)]
            assert known.ends == (step == 1)  # the last worker asks for it
            assert known.group_counts.current.tolist() == [-1, 0, 1]
            assert known.group_counts.groups.tolist() == names
            assert known.group_counts.counts.tolist() == table
        widths.append(width)
    return widths


def test_all_know_all_counts_whatever_changes() -> None:
    random = torch.Generator().manual_seed(0)
    groups: list[dict[int, int]] = [{} for _ in range(WORLD)]
    steps = []
    for _ in range(60):
        for mine in groups:
            for name in torch.randint(
                -3, 15, (int(torch.randint(4, (1,), generator=random)),), generator=random
            ).tolist():
                mine[name] = int(torch.randint(4, (1,), generator=random))
                if not mine[name]:
                    del mine[name]
        steps.append([dict(mine) for mine in groups])
    check(steps)


def test_messages_hold_changes_only() -> None:
    """All of 100 groups at first, which takes a second collective; later steps have room for what was needed lately."""
    full = {name: 5 for name in range(100)}
    steps = [[full] * WORLD, [full] * WORLD, [full | {7: 6}, full, full]] + [[full] * WORLD] * KEPT
    widths = check(steps)
    assert widths[0] == [1, 128]
    assert widths[1 : KEPT + 1] == [[128]] * KEPT
    assert widths[-2:] == [[1], [1]]


def test_one_group_needs_room_for_one() -> None:
    assert check([[{0: step}, {0: 3}, {}] for step in range(1, 6)]) == [[1]] * 5


def test_room_for_a_few() -> None:
    assert check([[{0: 1, 1: 1}, {}, {}]]) == [[1, FIRST_WIDTH]]


@pytest.mark.parametrize("steps", [[[{}] * WORLD], [[{4: 2}] * WORLD, [{}] * WORLD, [{4: 2}, {}, {9: 1}]]])
def test_nothing_is_stored(steps: list[list[dict[int, int]]]) -> None:
    check(steps)


def test_strangers_are_refused() -> None:
    ((found, _),) = exchanged([[{0: 1}] * WORLD], (5, 5, 6))
    assert all("Worker 2 and worker 0 do not store the same leaves" in str(error) for error in found.values())

"""The collectives that a worker launches, in their order: a wrapper around the methods of all process groups."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import GradBucket
from torch.distributed import ProcessGroup
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.futures import Future

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.strategy import rehearsal

# Of the methods with the same task, versions of torch have the one or the other.
ROWS = ("alltoall_base", "all_to_all_single")
METHODS = (*ROWS, "allreduce", "broadcast", "allgather", "_allgather_base", "all_gather_single", "barrier", "gather")
TRAINING, BACKGROUND, BACKWARD = "training", "background", "backward"


class CollectiveLog:
    """Notes each collective of this worker.

    Attributes:
        launched: For each process group, by its number in the order of their creation: the collectives on it, each with
            the kind of thread that launched it.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._launched: list[list[tuple[str, str]]] = []
        self._training = threading.get_ident()
        self._lock = threading.Lock()

    def note(self, group: ProcessGroup, method: str, thread: str = "") -> None:
        is_training = threading.get_ident() == self._training
        with self._lock:
            if group.group_name not in self._names:
                self._names.append(group.group_name)
                self._launched.append([])
            where = thread or (TRAINING if is_training else BACKGROUND)
            name = "rows" if method in ROWS else method
            self._launched[self._names.index(group.group_name)].append((name, where))

    def of_group(self) -> dict[str, list[tuple[str, str]]]:
        """The collectives by the name of their group."""
        return dict(zip(self._names, self._launched, strict=True))

    def reduced(self, state: object, bucket: GradBucket) -> Future[Tensor]:
        """A hook of DDP, whose reducer goes around the methods: averages gradients, and notes that."""
        assert dist.group.WORLD is not None
        self.note(dist.group.WORLD, "gradients", BACKWARD)
        return allreduce_hook(dist.group.WORLD, bucket)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.of_group()))


@contextlib.contextmanager
def logged_collectives() -> Iterator[CollectiveLog]:
    """Note all collectives that are launched within."""
    log = CollectiveLog()
    with contextlib.ExitStack() as stack:
        for name in filter(ProcessGroup.__dict__.__contains__, METHODS):
            stack.enter_context(mock.patch.object(ProcessGroup, name, _noting(log, name, getattr(ProcessGroup, name))))
        yield log


def _noting(log: CollectiveLog, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def noted(self: ProcessGroup, *args: Any, **kwargs: Any) -> Any:
        log.note(self, name)
        return method(self, *args, **kwargs)

    return noted


@contextlib.contextmanager
def rows_with_the_gradients() -> Iterator[None]:
    """Exchange rows in the group of the gradients, from the thread that trains, as under NCCL."""
    prepare = AsyncRehearsalBuffer.prepare

    def on_gpu(self: Any, *args: Any) -> None:
        prepare(self, *args)
        self.on_gpu = self._all_on_gpu = True

    group = mock.patch.object(rehearsal, "rows_group", lambda *_: dist.group.WORLD)
    with group, mock.patch.object(AsyncRehearsalBuffer, "prepare", on_gpu):
        yield

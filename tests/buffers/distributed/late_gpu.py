"""A GPU that is not there and that is late: it does queued work at random, as late as events, streams and host allow.

Results have their shape at once and their content when their stream comes to them; until then they hold a pattern. Work
that does not wait for what it needs therefore reads the pattern, or what was written since, and results differ.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from redwood.buffers.distributed.pipeline import Pipeline
from tests.buffers.distributed.fake_gpu import FakeGpu, FakeTensor, Operation, current_gpu, current_stream, lock

PATTERN = 0x5A
# The shape of their result depends on the content of their arguments, so that CUDA waits for it.
OF_UNKNOWN_SHAPE = {"aten::_unique2", "aten::nonzero"}


class LateEvent:
    """Takes the place of `torch.cuda.Event`."""

    def __init__(self, stream: "LateStream") -> None:
        self.stream, self.is_done = stream, False

    def set(self) -> None:
        self.is_done = True


class LateStream:
    """Takes the place of `torch.cuda.Stream`: work in the order of its launch, each after the events before it."""

    def __init__(self, device: Any = None) -> None:
        self.id = id(self)
        self._queue: deque[Callable[[], Any] | LateEvent] = deque()
        current_gpu().streams.append(self)

    def launch(self, work: Callable[[], Any] | LateEvent) -> None:
        with lock:
            self._queue.append(work)
            current_gpu().stir()

    def wait_event(self, event: LateEvent) -> None:
        self.launch(event)

    def wait_stream(self, other: "LateStream") -> None:
        self.launch(other.record_event())

    def record_event(self) -> LateEvent:
        event = LateEvent(self)
        self.launch(event.set)
        return event

    def synchronize(self) -> None:
        with lock:
            self.reach(self.record_event())

    def reach(self, event: LateEvent) -> None:
        """Work until this stream's event is done, and let others do what that needs."""
        while not event.is_done:
            self.go_on(forced=True)

    def go_on(self, *, forced: bool = False) -> None:
        """Do the next piece of work, unless it waits for another stream; forced: let that do what is waited for."""
        if not self._queue:
            return
        work = self._queue[0]
        if isinstance(work, LateEvent):
            if forced:
                work.stream.reach(work)
            if not work.is_done:
                return
            self._queue.popleft()
        else:
            self._queue.popleft()
            work()


class Anywhere:
    """Memory on the GPU, whose order is not looked at."""

    known: ClassVar[set[int]] = set()


class LateGpu(FakeGpu):
    """What happens on the late GPU within the context that it is.

    Attributes:
        streams: All streams, the one that trains first.
    """

    stream_type = LateStream

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.streams: list[LateStream] = []
        self._random = random.Random(seed)
        self._by_place: dict[int, Tensor | None] = {}  # pinned memory

    def stir(self) -> None:
        """Once in a while, let some stream go on for a while."""
        if self._random.random() < 0.1:
            stream = self._random.choice(self.streams)
            for _ in range(self._random.randrange(8)):
                stream.go_on()

    def begin_step(self) -> None:
        """In half of the steps, let nothing happen in the background before the forward pass."""
        if self._random.random() < 0.5:
            self.gate.clear()

    def _watched_transfers(self) -> Any:
        return Pipeline._transfer_job  # there are no clocks to look at

    def launch_forward(self, x: Tensor) -> Tensor:
        y = x * 2
        self.gate.set()
        return y

    def _run(self, operation: Operation) -> Any:
        if operation.views:
            out = operation.on_cpu()
            return FakeTensor(out, Anywhere()) if operation.on_gpu else out  # type: ignore[arg-type]
        if operation.pins:
            out = operation.on_cpu()
            self.pin(out.untyped_storage().data_ptr(), out)
            return out
        if operation.waits or (operation.reads_on_host and not self._is_pinned(operation.args[0])):
            current_stream().synchronize()
            return operation.on_cpu()
        self._stage(operation)
        written = [leaf for leaf in operation.tensors if _is_written(operation, leaf)]
        if written:
            current_stream().launch(operation.on_cpu)
            return written[0]
        if operation.name in OF_UNKNOWN_SHAPE:
            current_stream().synchronize()
            out = operation.on_cpu()
        else:
            out = shaped(operation)
            current_stream().launch(lambda: _fill(out, operation.on_cpu()))
        return tree_map_only(Tensor, lambda leaf: FakeTensor(leaf, Anywhere()), out)  # type: ignore[arg-type]

    def pin(self, address: int, keep: Tensor | None = None) -> None:
        self._by_place[address] = keep

    def unpin(self, address: int) -> None:
        del self._by_place[address]

    def _is_pinned(self, leaf: Any) -> bool:
        return isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() in self._by_place

    def _stage(self, operation: Operation) -> None:
        """CUDA copies memory that is not pinned while the call lasts, and pinned memory when the stream comes to it."""
        first = 1 if operation.name == "aten::copy_" else 0  # that is where it copies to
        operation.args = tuple(
            leaf.clone() if type(leaf) is Tensor and number >= first and not self._is_pinned(leaf) else leaf
            for number, leaf in enumerate(operation.args)
        )

    def __exit__(self, *error: object) -> None:
        for stream in self.streams:
            stream.synchronize()
        super().__exit__(*error)


def _fill(places: Any, values: Any) -> None:
    if isinstance(places, Tensor):
        places.copy_(values)
    else:
        for place, value in zip(places, values, strict=True):
            place.copy_(value)


def _is_written(operation: Operation, leaf: Tensor) -> bool:
    arguments, kwargs = operation.func._schema.arguments, operation.kwargs
    given = [
        *zip(arguments, operation.args, strict=False),
        *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
    ]
    return any(value is leaf and a.alias_info is not None and a.alias_info.is_write for a, value in given)


def shaped(operation: Operation) -> Any:
    """What an operation will make, in shape and dtype; it holds the pattern."""
    kwargs = operation.kwargs | ({"device": "meta"} if operation.kwargs.get("device") is not None else {})
    args, kwargs = tree_map_only(Tensor, _on_meta, (operation.args, kwargs))
    return tree_map_only(Tensor, _pattern_like, operation.func(*args, **kwargs))


def _on_meta(leaf: Tensor) -> Tensor:
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")


def _pattern_like(leaf: Tensor) -> Tensor:
    out = torch.empty(leaf.shape, dtype=leaf.dtype, device="cpu")
    if out.numel():
        out.view(-1).view(torch.uint8).fill_(PATTERN)
    return out

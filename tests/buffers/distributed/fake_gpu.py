"""A GPU that is not there: CPU tensors that say `cuda:0`, and streams and events that keep vector clocks.

Every operation on a fake tensor is a kernel on the current stream of its thread. What is found:

- a race: two accesses of one memory, one of them a write, that no event, stream or host orders;
- a race with the allocator: memory that is freed while a stream which the allocator does not know of still uses it;
- tensors on different devices in one operation;
- a decision that waits for the forward pass of its own step;
- a transfer that waits for what training launched after asking for it.
"""

import contextlib
import gc
import itertools
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from redwood.buffers.distributed import pipeline, worker_thread

GPU = torch.device("cuda", 0)
# When something that cannot be asked for a device, or is not on one, meets a tensor on the GPU.
MIXED = {"aten::copy_", "aten::_to_copy", "aten::index.Tensor"}
READS_ON_HOST = {"aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero"}
# Operations on the GPU whose result has a shape that the host has to know.
OF_UNKNOWN_SHAPE = {"aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim"}
# Up to so many bytes are copied from pageable memory without waiting for the GPU.
UNPINNED = 2**16

Clock = dict[int, int]
_ticks = itertools.count(1)
_local = threading.local()
lock = threading.RLock()


def _join(clock: Clock, other: Clock) -> None:
    for agent, tick in other.items():
        clock[agent] = max(clock.get(agent, 0), tick)


def _host() -> Clock:
    """What this thread has waited for."""
    if not hasattr(_local, "host"):
        _local.host = {}
    host: Clock = _local.host
    return host


class Stream:
    """Takes the place of `torch.cuda.Stream`."""

    def __init__(self, device: Any = None) -> None:
        self.id, self.clock = next(_ticks), dict(_host())

    def wait_event(self, event: "Event") -> None:
        _join(self.clock, event.clock)

    def wait_stream(self, other: "Stream") -> None:
        _join(self.clock, other.clock)

    def record_event(self) -> "Event":
        return Event(self.clock)

    def synchronize(self) -> None:
        if getattr(_local, "deciding", False) and self.clock.get(_current.gpu.default.id, 0) >= _current.gpu.forward:
            _current.gpu.found["a decision waits for the forward pass"] = where()
        if threading.current_thread().name != "rehearsal":
            _current.gpu.waits.append(where())
        _join(_host(), self.clock)


class Event:
    """Takes the place of `torch.cuda.Event`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = dict(clock)


class Memory:
    """Memory on the GPU, or of the host if the GPU copies from it by itself."""

    def __init__(self, name: str, gpu: "FakeGpu", *, pinned: bool = False) -> None:
        self.name, self.gpu, self.pinned = name, gpu, pinned
        self.owner = current_stream()
        self.known = {self.owner.id}  # streams that the allocator waits for before it gives the memory to others
        self.write: tuple[int, int, str] | None = None
        self.reads: dict[int, tuple[int, str]] = {}
        self.last: dict[int, tuple[int, str]] = {}

    def access(self, agent: int, clock: Clock, action: str, *, writes: bool) -> None:
        """Note an access by a stream or by a thread of the host."""
        now, place = next(_ticks), where()
        before = [] if self.write is None else [self.write]
        if writes:
            before += [(reader, tick, what) for reader, (tick, what) in self.reads.items()]
        for other, tick, what in before:
            if tick > clock.get(other, 0):
                self.gpu.found[f"{self.name}: {action} races with {what}"] = place
        clock[agent] = now
        what = f"{action} at {place}"
        self.last[agent] = now, what
        if writes:
            self.write, self.reads = (agent, now, what), {}
        else:
            self.reads[agent] = now, what

    def __del__(self) -> None:
        with lock:
            clock = dict(self.owner.clock)
            _join(clock, _host())
            for agent, (tick, what) in self.last.items():
                if not self.pinned and agent not in self.known and tick > clock.get(agent, 0):
                    self.gpu.found[f"{self.name}: freed during {what}"] = self.name


class FakeTensor(Tensor):
    """A tensor that says it is on the GPU, and works on the CPU."""

    on_cpu: Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, inner: Tensor, memory: Memory) -> Self:
        fake = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device("meta"),
            dispatch_device=True,
        )
        fake.on_cpu, fake.memory = inner, memory
        return fake

    def record_stream(self, stream: Any) -> None:
        self.memory.known.add(stream.id)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod  # torch declares the attribute as a function without `cls`
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _current.gpu.run(func, args, kwargs or {})


class _Current:
    gpu: "FakeGpu"


_current = _Current()


def current_gpu() -> Any:
    """The GPU whose context it is."""
    return _current.gpu


class Watch(TorchDispatchMode):
    """Sees the operations of a thread that begin with no tensor on the GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _current.gpu.run(func, args, kwargs or {})


def current_stream(device: Any = None) -> Any:
    return getattr(_local, "stream", _current.gpu.default)


def default_stream() -> Any:
    return _current.gpu.default


@contextlib.contextmanager
def on_stream(stream: Stream) -> Iterator[None]:
    before = current_stream()
    _local.stream = stream
    try:
        yield
    finally:
        _local.stream = before


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments of an operation; much faster than pytrees, which most operations need not."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def on_cpu(value: Any) -> Any:
    """Arguments of an operation with the tensors on the CPU that stand behind fake ones."""
    if isinstance(value, FakeTensor):
        return value.on_cpu
    if isinstance(value, list | tuple):
        return type(value)(map(on_cpu, value))
    return {name: on_cpu(one) for name, one in value.items()} if isinstance(value, dict) else value


class Operation:
    """An operation that PyTorch is about to do, and where it would take place.

    Attributes:
        fakes: Tensors on the GPU among its arguments.
        on_gpu: Whether its result is on the GPU.
        views: Whether its result shares memory with an argument.
        pins: Whether it makes pinned memory.
        is_kernel: Whether the GPU does it.
        reads_on_host: Whether it brings something from the GPU to the host.
        non_blocking: Whether the host may go on while it copies.
        waits: Whether the host waits until it is done.
    """

    def __init__(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.func, self.args, self.kwargs, self.name = func, args, dict(kwargs), func._schema.name
        self.tensors = list(tensors_in((*args, *kwargs.values())))
        self.fakes = [leaf for leaf in self.tensors if isinstance(leaf, FakeTensor)]
        self.pins = bool(self.kwargs.pop("pin_memory", None))
        device = kwargs.get("device")
        self.on_gpu = bool(self.fakes) if device is None else torch.device(device).type == "cuda"
        if self.name == "aten::copy_":
            self.on_gpu = isinstance(args[0], FakeTensor)
        self.is_kernel = self.on_gpu or bool(self.fakes)
        self.is_on_host = not self.is_kernel and not self.pins
        self.views = any(value.alias_info and not value.alias_info.is_write for value in func._schema.returns)
        crosses = self.name in READS_ON_HOST or (not self.on_gpu and self.name in MIXED)
        self.reads_on_host = bool(self.fakes) and crosses
        self.non_blocking = kwargs.get("non_blocking") or (self.name == "aten::copy_" and len(args) > 2 and args[2])
        self.waits = (self.reads_on_host and not self.non_blocking) or (
            bool(self.fakes) and self.name in OF_UNKNOWN_SHAPE
        )

    def check_devices(self) -> None:
        """Refuse tensors on both devices, as torch does."""
        plain = [leaf for leaf in self.tensors if type(leaf) is Tensor]
        if self.fakes and self.name not in MIXED and any(leaf.dim() for leaf in plain):
            raise RuntimeError(f"{self.func} of tensors on cuda:0 and the host at {where()}.")

    def on_cpu(self) -> Any:
        """Do it now, on the CPU."""
        kwargs = on_cpu(self.kwargs)
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if self.name == "aten::_to_copy" and self.is_kernel:
            kwargs.pop("non_blocking", None)
        return self.func(*on_cpu(self.args), **kwargs)


def where() -> str:
    """The lines of the buffers' code that an access comes from."""
    lines: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(lines) < 3:
        folder, _, file = frame.f_code.co_filename.rpartition("/")
        if "/redwood/buffers" in folder:
            lines.append(f"{file}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines)


class Cudart:
    """Takes the place of the CUDA runtime, as far as pinned memory goes."""

    def __init__(self, gpu: "FakeGpu") -> None:
        self._gpu = gpu

    def cudaHostRegister(self, address: int, n_bytes: int, flags: int) -> int:
        self._gpu.pin(address)
        return 0

    def cudaHostUnregister(self, address: int) -> int:
        self._gpu.unpin(address)
        return 0


class FakeGpu:
    """What happens on the GPU within the context that it is.

    Attributes:
        found: Races and the like, and where each was seen last.
        forward: When the forward pass of the latest step was launched.
        gate: Whether jobs may go on in the background.
        waits: Where a thread other than that of the background has waited for a stream.
    """

    stream_type: Any = Stream

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.forward = sys.maxsize
        self.waits: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self._pinned: dict[int, tuple[Memory, Tensor | None]] = {}

    def pin(self, address: int, keep: Tensor | None = None) -> Memory:
        """Know of pinned memory; `keep` stays, so that no other has its address."""
        self._pinned[address] = memory, _ = Memory("pinned memory", self, pinned=True), keep
        return memory

    def unpin(self, address: int) -> None:
        """Forget pinned memory that is about to be freed."""
        del self._pinned[address]

    def begin_step(self) -> None:
        """Let nothing happen in the background before the forward pass."""
        self.forward = sys.maxsize
        self.gate.clear()

    def launch_forward(self, x: Tensor) -> Tensor:
        """A forward pass."""
        y = x * 2
        self.forward = self.default.clock[self.default.id]
        self.gate.set()
        return y

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Do an operation on the CPU, and note it where it would have been on the GPU."""
        if func is torch.ops.prim.device.default:
            return GPU
        with lock:
            operation = Operation(func, args, kwargs)
            if operation.is_on_host and not any(self._memory_of(leaf) for leaf in operation.tensors):
                return func(*args, **kwargs)
            operation.check_devices()
            return self._run(operation)

    def _run(self, operation: "Operation") -> Any:
        out = operation.on_cpu()
        if not operation.views:
            self._note(operation)
        if operation.waits or self._waits_for_source(operation):
            current_stream().synchronize()
        elif operation.reads_on_host and operation.name == "aten::_to_copy":
            memory = self.pin(out.untyped_storage().data_ptr(), out)
            self._access(memory, operation.name, writes=True, is_kernel=True)
        if operation.pins:
            self.pin(out.untyped_storage().data_ptr(), out)
        if not operation.on_gpu:
            return out
        return tree_map_only(Tensor, lambda leaf: self._wrapped(leaf, operation), out)

    def _wrapped(self, out: Tensor, operation: "Operation") -> Tensor:
        name = operation.name
        for fake in operation.fakes:
            if fake.on_cpu is out:
                return fake
        if operation.views:
            return FakeTensor(out, operation.fakes[0].memory)
        memory = Memory(f"result of {name.removeprefix('aten::')} {tuple(out.shape)} at {where()}", self)
        # The allocator may give out memory that earlier work of the current stream still uses: even `empty` is a write.
        self._access(memory, name, writes=True, is_kernel=True)
        return FakeTensor(out, memory)

    def _note(self, operation: "Operation") -> None:
        func, args, kwargs = operation.func, operation.args, operation.kwargs
        arguments = func._schema.arguments
        given = [*zip(arguments, args, strict=False), *((a, kwargs[a.name]) for a in arguments if a.name in kwargs)]
        for argument, value in given:
            writes = argument.alias_info is not None and argument.alias_info.is_write
            for leaf in tensors_in([value]):
                memory = self._memory_of(leaf)
                if memory is not None:
                    self._access(memory, func._schema.name, writes=writes, is_kernel=operation.is_kernel)

    def _waits_for_source(self, operation: "Operation") -> bool:
        """Whether the host waits until its memory has been read."""
        sources = operation.tensors[-1:] if operation.on_gpu and operation.name in MIXED else []
        copied = [leaf for leaf in sources if not isinstance(leaf, FakeTensor)]
        is_pinned = all(self._memory_of(leaf) for leaf in copied)
        return bool(copied) and not (operation.non_blocking and (is_pinned or copied[0].nbytes <= UNPINNED))

    def _memory_of(self, leaf: Any) -> Memory | None:
        if isinstance(leaf, FakeTensor):
            return leaf.memory if leaf.numel() else None
        if not self._pinned or not isinstance(leaf, Tensor):
            return None
        return self._pinned.get(leaf.untyped_storage().data_ptr(), (None,))[0]

    def _access(self, memory: Memory, name: str, *, writes: bool, is_kernel: bool) -> None:
        name = name.removeprefix("aten::")
        if is_kernel:
            stream = current_stream()
            _join(stream.clock, _host())  # it starts after all that its thread has waited for
            action = f"{name} on stream {'default' if stream is self.default else 'side'}"
            memory.access(stream.id, stream.clock, action, writes=writes)
        else:
            memory.access(-threading.get_ident(), _host(), f"{name} on the host", writes=writes)

    def __enter__(self) -> Self:
        torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]
        _local.__dict__.clear()
        _current.gpu = self
        self.default = self.stream_type()
        self._stack = contextlib.ExitStack()
        cuda: dict[str, Any] = {
            "Stream": self.stream_type,
            "stream": on_stream,
            "current_stream": current_stream,
            "device": lambda device: contextlib.nullcontext(),
            "current_device": lambda: 0,
            "is_available": lambda: True,
            "_lazy_init": lambda: None,
            "cudart": lambda: Cudart(self),
        }
        self._stack.enter_context(mock.patch.multiple(torch.cuda, **cuda))
        self._stack.enter_context(mock.patch.multiple(worker_thread.Job, **_watched_job(self)))
        decide = pipeline.Pipeline._decide

        def deciding(*args: Any) -> Any:
            _local.deciding = True
            try:
                return decide(*args)
            finally:
                _local.deciding = False

        self._stack.enter_context(mock.patch.object(pipeline.Pipeline, "_decide", deciding))
        self._stack.enter_context(mock.patch.object(pipeline.Pipeline, "_transfer_job", self._watched_transfers()))
        self._stack.enter_context(Watch())
        return self

    def read_on_host(self, leaf: Tensor) -> None:
        """Note that the host reads a tensor without an operation of PyTorch."""
        with lock:
            memory = self._memory_of(leaf)
            if memory is not None:
                self._access(memory, "numpy", writes=False, is_kernel=False)

    def _watched_transfers(self) -> Any:
        """A method that makes jobs of transfers, and looks what the lane has waited for at the end of each."""
        transfer_job = pipeline.Pipeline._transfer_job

        def watched(*args: Any) -> Any:
            default, work = self.default, transfer_job(*args)
            launched = default.clock.get(default.id, 0)

            def run() -> Any:
                is_over = _host().get(default.id, 0)  # nobody has to wait for this any more
                fetched = work()
                done: Any = fetched.done
                if done.clock.get(default.id, 0) > max(launched, is_over):
                    self.found["a transfer waits for what was launched after it"] = where()
                return fetched

            return run

        return watched

    def __exit__(self, *error: object) -> None:
        self.gate.set()
        gc.collect()  # memory that is freed now
        self._stack.close()


def _watched_job(gpu: FakeGpu) -> dict[str, Any]:
    """Methods of a job that carry along what threads have waited for."""
    begin, run, result = worker_thread.Job.__init__, worker_thread.Job.run, worker_thread.Job.result

    def watched_begin(self: Any, work: Any) -> None:
        begin(self, work)
        self.clock = dict(_host())

    def watched_run(self: Any) -> None:
        if threading.current_thread().name == "rehearsal":
            gpu.gate.wait(10)
        with Watch():
            _join(_host(), self.clock)
            done = self._over.set

            def set_with_clock() -> None:
                self.clock = dict(_host())
                done()

            self._over.set = set_with_clock
            run(self)

    def watched_result(self: Any, timeout: Any = None) -> Any:
        value = result(self, timeout)
        _join(_host(), self.clock)
        return value

    return {"__init__": watched_begin, "run": watched_run, "result": watched_result}

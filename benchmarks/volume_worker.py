"""One process of `volume.py`."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from common import resident_bytes
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer

BATCH, REPLAY, FILLING = 56, 7, 30
# All functions of torch.distributed that communicate.
COLLECTIVES = (
    *("all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object", "all_to_all", "all_to_all_single"),
    *("broadcast", "broadcast_object_list", "reduce", "reduce_scatter", "reduce_scatter_tensor", "gather", "scatter"),
    *("gather_object", "scatter_object_list", "send", "recv", "isend", "irecv", "batch_isend_irecv", "barrier"),
)
SHAPES = ((3, 32, 32), (3, 224, 224))
# The run whose memory is watched: two workers, rows of 3x32x32 bytes, a label and who stored it.
MEMORY: dict[str, int] = {"buffer_size": 20_000, "row": 3 * 32 * 32 + 16, "bytes": 10_000 * (3 * 32 * 32 + 16)}


class Wire:
    """Counts the calls of collectives, and the bytes that this worker hands to them for others."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.n_bytes: Counter[str] = Counter()

    @contextmanager
    def tapped(self) -> Iterator[None]:
        """Count what happens inside."""
        original = {name: getattr(dist, name) for name in COLLECTIVES}
        for name, function in original.items():
            setattr(dist, name, self._counted(name, function))
        try:
            yield
        finally:
            for name, function in original.items():
                setattr(dist, name, function)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if name == "all_to_all_single":
                _, sent, _, splits = args
                others = sum(splits) - splits[dist.get_rank()]
                self.n_bytes[name] += others * sent[0].nbytes if len(sent) else 0
            elif name == "all_gather_into_tensor":
                self.n_bytes[name] += args[1].nbytes * (dist.get_world_size() - 1)
            else:
                raise RuntimeError(f"No rule how to count the bytes of {name}.")
            return function(*args, **kwargs)

        return counted


def samples_of(shape: tuple[int, ...], n: int) -> dict[str, Tensor]:
    """Samples that tell who stored them."""
    return {
        "x": torch.randint(0, 256, (n, *shape), dtype=torch.uint8),
        "y": torch.arange(n) % 10,
        "owner": torch.full((n,), dist.get_rank()),
    }


def count(shape: tuple[int, ...], sampler: str, steps: int) -> dict[str, Any]:
    """Volume of some steps, the mean over workers."""
    memory = AsyncRehearsalBuffer(dist.get_world_size() * 50, replay=REPLAY, sampler=sampler)
    memory.open()
    batch = samples_of(shape, BATCH)
    foreign = 0
    for _ in range(FILLING):
        memory.collect()
        memory.add(batch, labels=batch["y"])
    memory.flush()
    memory.collect()
    wire = Wire()
    with wire.tapped():
        for _ in range(steps):
            memory.add(batch, labels=batch["y"])
            owners = memory.collect()["owner"]
            foreign += int((owners != dist.get_rank()).sum())
        memory.flush()
    row = memory.buffer.rows.layout.stride
    memory.close()
    rows, counts = wire.n_bytes["all_to_all_single"] // row, wire.n_bytes["all_gather_into_tensor"]
    totals = torch.tensor((sum(wire.calls.values()), rows, foreign, counts))
    dist.all_reduce(totals)
    calls, rows, needed, counts = (int(total) / dist.get_world_size() / steps for total in totals)
    world = dist.get_world_size()
    return {
        "workers": world,
        "row (bytes)": row,
        "sampler": sampler,
        "collectives per step": calls,
        "rows needed": needed,
        "rows sent": rows,
        "sent / expected": rows / (REPLAY * (world - 1) / world),
        "row bytes": rows * row,
        "count bytes": counts,
        "share of counts": counts / (rows * row + counts),
    }


def watch(steps: int) -> list[dict[str, Any]]:
    """Memory over a long run, every hundredth of it, from the step on in which the buffer has long been full."""
    memory = AsyncRehearsalBuffer(MEMORY["buffer_size"], replay=REPLAY, candidates=14)
    memory.open()
    batch = samples_of(SHAPES[0], BATCH)
    found = []
    before = alive_bytes()
    for step in range(steps + 1):
        memory.collect()
        memory.add(batch, labels=batch["y"])
        if step >= steps // 10 and step % (steps // 10) == 0:
            memory.flush()
            found.append(
                {"step": step, "resident (bytes)": resident_bytes(), "tensors (bytes)": alive_bytes() - before}
            )
    memory.close()
    return found


def alive_bytes() -> int:
    """Bytes of the memory of all tensors that can be reached."""
    gc.collect()
    storages = [one.untyped_storage() for one in gc.get_objects() if issubclass(type(one), Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def work(rank: int, world: int, store: str, counted: int, steps: int, results: str) -> None:
    """The life of a process; the first one writes what was found."""
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    held = watch(steps) if steps else []
    volumes = [count(shape, "uniform", counted) for shape in SHAPES]
    volumes.append(count(SHAPES[0], "class_balanced", counted))
    if rank == 0:
        torch.save((volumes, held), results)
    dist.destroy_process_group()

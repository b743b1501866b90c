"""Reading and writing rows at random slots, as a share of copying the same bytes between tensors that are there."""

import tempfile
from collections.abc import Callable
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import buffer_peers
import torch
from common import Seconds, median_ratio, take_turns
from torch import Tensor

from redwood.buffers import RowLayout, RowStorage

SHAPES = ((1, 28, 28), (3, 32, 32), (3, 224, 224))
DTYPES = (torch.uint8, torch.float32)
BATCHES = (32, 256, 1024, 4096)
# Bytes of each storage and of the region that plain copies go through: many times what the caches hold.
STORAGE, REGION = {"host": 2**30, "mmap": 2**30, "cuda": 2**32}, 2**29
# Bytes that a variant moves in a round, and the most and least often that it is called for that.
MOVED, MOST, LEAST = 1e8, 1000, 3
LARGE_ROW = 100_000
COPIES = {"read": "copy, read", "write": "copy, write"}

Call = Callable[[int], object]


class Rows:
    """Rows of one kind, and batches of them.

    Args:
        shape: Shape of a sample.
        dtype: Its dtype.
        tier: As in redwood: `host`, `mmap` or `cuda`.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, tier: str) -> None:
        self.name = f"{'x'.join(map(str, shape))} {str(dtype).removeprefix('torch.')}"
        self.tier, self._shape, self._dtype = tier, shape, dtype
        self.device = torch.device("cuda" if tier == "cuda" else "cpu")
        layout = RowLayout.of(self.samples(1))
        self.n_bytes = sum(leaf.nbytes for leaf in layout.leaves)
        self.capacity = STORAGE[tier] // layout.stride
        self.storage = RowStorage(layout, self.capacity, tier=tier, device=self.device)
        # Memory is there only once it was written to.
        filler = self.filler()
        for slots in torch.arange(self.capacity).split(len(filler["y"])):
            self.storage.write(slots, {name: tensor[: len(slots)] for name, tensor in filler.items()})

    def samples(self, n: int) -> dict[str, Tensor]:
        """Samples (n, ...), and labels."""
        random = torch.Generator(self.device).manual_seed(0)
        x = torch.randint(0, 256, (n, *self._shape), dtype=torch.uint8, generator=random, device=self.device)
        return {"x": x.to(self._dtype), "y": torch.arange(n, device=self.device)}

    def filler(self) -> dict[str, Tensor]:
        """Samples of some 16 MB, to fill storages with."""
        return self.samples(max(32, 2**24 // self.n_bytes))

    def fits(self, batch: int) -> bool:
        """Whether a batch may be measured: it and its copy take 2.5 GB, or a sixteenth of a GPU's memory, at most."""
        limit = torch.cuda.mem_get_info()[0] / 16 if self.tier == "cuda" else min(2.5e9, free_bytes() / 4)
        return 2 * batch * self.n_bytes <= limit and batch <= self.capacity

    def slots(self, batch: int, n: int) -> list[Tensor]:
        """Random slots (batch,) for each of `n` calls; none comes twice before all have come."""
        sets: list[Tensor] = []
        while len(sets) < n:
            sets += torch.randperm(self.capacity)[: self.capacity // batch * batch].split(batch)
        return sets[:n]


def free_bytes() -> float:
    """Memory that may still be taken (Linux)."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return float(lines["MemAvailable"].split()[0]) * 1024


def compare(tier: str, rounds: int) -> list[dict[str, Any]]:
    """Measure all kinds of rows at all batch sizes in one tier.

    Returns:
        A row of each: the microseconds of each variant, and its speed as a share of the plain copy's.
    """
    rows = []
    for shape in SHAPES:
        for dtype in DTYPES:
            with tempfile.TemporaryDirectory() as directory:
                kind = Rows(shape, dtype, tier)
                peer = None
                if buffer_peers.torchrl_version() is not None:
                    peer = buffer_peers.torchrl_storage(kind.capacity, kind.filler(), tier, directory)
                rows += [_compare_batch(kind, peer, batch, rounds) for batch in BATCHES if kind.fits(batch)]
                del kind, peer
    return rows


def _compare_batch(kind: Rows, peer: Any, batch: int, rounds: int) -> dict[str, Any]:
    repeats = max(LEAST, min(MOST, ceil(MOVED / (batch * kind.n_bytes))))
    variants = {name: _timed(call, repeats, kind.device) for name, call in _calls(kind, peer, batch, repeats).items()}
    times = take_turns(variants, rounds)
    clock = "wall" if kind.tier == "cuda" else "cpu"
    row: dict[str, Any] = {"tier": kind.tier, "row": kind.name, "row bytes": kind.n_bytes, "batch": batch}
    for name, spans in times.items():
        copy = times[COPIES["write" if "write" in name or " set" in name else "read"]]
        row[name] = {
            "us (wall)": 1e6 * median(span.wall for span in spans),
            "us (cpu)": 1e6 * median(span.cpu for span in spans),
            "share": median_ratio([getattr(c, clock) for c in copy], [getattr(s, clock) for s in spans]),
        }
        row[name]["GB/s"] = batch * kind.n_bytes / row[name][f"us ({clock})"] / 1e3
    return row


def _calls(kind: Rows, peer: Any, batch: int, repeats: int) -> dict[str, Call]:
    """What is compared; each is told the number of the call."""
    storage, n_bytes = kind.storage, batch * kind.n_bytes
    samples, slots, out = kind.samples(batch), kind.slots(batch, repeats), storage.rows_like(batch)
    packed = torch.zeros(n_bytes, dtype=torch.uint8, device=kind.device)
    region = torch.zeros(max(REGION, n_bytes), dtype=torch.uint8, device=kind.device)
    windows = region[: len(region) // n_bytes * n_bytes].view(-1, n_bytes)
    turns = [windows[i % len(windows)] for i in range(repeats)]
    calls: dict[str, Call] = {
        COPIES["read"]: lambda i: packed.copy_(turns[i]),
        COPIES["write"]: lambda i: turns[i].copy_(packed),
        "copy, new memory": lambda i: turns[i].clone(),
        "read, out=": lambda i: storage.read(slots[i], out),
        "read": lambda i: storage.read(slots[i]),
        "write": lambda i: storage.write(slots[i], samples),
    }
    if peer is not None:
        wrapped = buffer_peers.torchrl_samples(samples)
        calls |= {"torchrl get": lambda i: peer.get(slots[i]), "torchrl set": lambda i: peer.set(slots[i], wrapped)}
    return calls


def _timed(call: Call, repeats: int, device: torch.device) -> Callable[[], Seconds]:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def run() -> Seconds:
        wait()
        start = Seconds.now()
        for i in range(repeats):
            call(i)
        wait()
        return Seconds.now().since(start).each(repeats)

    return run


def check_no_waiting() -> str:
    """Whether `write` and `read` on the GPU never make the host wait; torch raises where they would."""
    kind = Rows((3, 32, 32), torch.uint8, "cuda")
    samples, (slots,) = kind.samples(256), kind.slots(256, 1)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        kind.storage.write(slots, samples)
        kind.storage.read(slots)
    except RuntimeError as error:
        return f"`write` and `read` of a batch wait for the GPU: {error}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "`write` and `read` of a batch do not wait for the GPU."

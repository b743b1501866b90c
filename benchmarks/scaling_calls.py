"""What rehearsal costs outside the background: calls of the thread that trains, and connections that are opened once.

Inputs of `scaling_model.py`, measured here.
"""

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from common import resident_bytes

from redwood.buffers import AsyncRehearsalBuffer

# Samples of a batch, representatives, and seconds between two steps: memory that a step uses is not in the caches.
BATCH, REPLAY, PAUSE = 56, 7, 5e-3
# Workers between which connections are opened: threads of this process, for the differences between two numbers.
FEW, MORE = 16, 48
# Serves a store until its input ends, and prints its port and then the seconds of the processor that it took.
_STORE = """
import sys, time
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
start = time.process_time()
print(store.port, flush=True)
sys.stdin.read()
print(time.process_time() - start, flush=True)
"""


@dataclass(frozen=True)
class Connections:
    """Of one worker to each other one, opened once for each process group.

    Attributes:
        seconds: CPU seconds of the worker.
        store_seconds: CPU seconds of the one process through which all workers find each other.
        n_bytes: Memory of the worker, without that of the kernel.
    """

    seconds: float
    store_seconds: float
    n_bytes: float


def measure_calls(rounds: int) -> float:
    """CPU seconds that a step takes the thread that trains: all calls into the buffer, and joining both batches.

    Images are small: larger ones take longer to join, which is left to the GPU. Two workers, in two processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_call, (f"{folder}/store", f"{folder}/found", rounds), nprocs=2)
        return float(Path(f"{folder}/found").read_text())


def _call(rank: int, store: str, found: str, rounds: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    memory = AsyncRehearsalBuffer(1000, replay=REPLAY)
    memory.open()
    times = []
    for _ in range(30 + rounds):
        samples = {"x": torch.zeros(BATCH, 3, 8, 8, dtype=torch.uint8), "y": torch.zeros(BATCH, dtype=torch.int64)}
        start = time.thread_time()
        memory.rehearse(samples)
        called = time.thread_time() - start
        time.sleep(PAUSE)
        start = time.thread_time()
        memory.weight()
        times.append(called + time.thread_time() - start)
    memory.close()
    if rank == 0:
        Path(found).write_text(str(median(times[30:])))
    dist.destroy_process_group()


def measure_connections() -> Connections:
    """What each connection of gloo costs: the difference between all of MORE and all of FEW workers."""
    _open(FEW)  # what is loaded and allocated once
    few, more = _open(FEW), _open(MORE)
    n = MORE * (MORE - 1) - FEW * (FEW - 1)
    return Connections(*((b - a) / n for a, b in zip(few, more, strict=True)))


def _open(workers: int) -> tuple[float, float, float]:
    """CPU seconds of all workers and of the store, and bytes, for connections between all of so many workers."""
    with subprocess.Popen([sys.executable, "-c", _STORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        stores = [dist.TCPStore("127.0.0.1", port, wait_for_workers=False) for _ in range(workers)]
        groups: list[Any] = [None] * workers

        def join(rank: int) -> None:
            groups[rank] = dist.ProcessGroupGloo(stores[rank], rank, workers, timedelta(seconds=60))

        threads = [threading.Thread(target=join, args=(rank,)) for rank in range(workers)]
        memory, start = resident_bytes(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.process_time() - start
        memory = resident_bytes() - memory
        server.stdin.close()
        return taken, float(server.stdout.readline()), memory

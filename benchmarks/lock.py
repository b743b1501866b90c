"""How long the thread behind a training step can hold Python's lock: the CPU time of its jobs, per step.

One worker of many, whose others answer at once; 1,000 rows on each, 56 samples a step, 8 of them drawn by each worker.
The kernels of PyTorch release the lock, and their time is in these figures: it is held for less. The time in the
collectives, which hold nothing, is left out. Of all steps the figures are the lower decile: another process that runs
beside adds time.

Run: python benchmarks/lock.py. Writes benchmarks/results/lock.*.
"""

import argparse
import time
from collections import defaultdict
from typing import Any
from unittest import mock

import torch
from clocked import use_one_thread
from common import environment, markdown_table, write
from torch import Tensor

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.distributed import async_buffer
from redwood.buffers.distributed.worker_thread import Job

ROWS, BATCH, REPLAY, CLASSES, STEPS_OF_TASK, WARM = 1000, 56, 8, 100, 40, 100
PARTS = {"decide": "decide (us)", "<lambda>": "plan (us)", "work": "transfer (us)"}
CASES = [("uniform", "reservoir"), ("old_tasks", "reservoir"), ("class_balanced", "class_balanced")]
WORKERS = 2, 64
# Bar in microseconds, for so many workers.
BAR, BAR_WORKERS = 300, 64


class Answering:
    """Peers that store as much as this worker does, and send zeros.

    Attributes:
        seconds: CPU time that the answers took.
    """

    group = None

    def __init__(self, world: int) -> None:
        self.rank, self.world, self.seconds = world // 2, world, 0.0

    def gather(self, message: Tensor) -> Tensor:
        """The messages of all workers."""
        start = time.thread_time()
        messages = message.repeat(self.world, 1)
        self.seconds += time.thread_time() - start
        return messages

    def exchange(self, received: Tensor, *_: Any) -> None:
        """Receive the rows of the others."""
        start = time.thread_time()
        received.view(torch.int64).zero_()
        self.seconds += time.thread_time() - start

    def connected(self, *_: Any) -> None:
        """There is no group that rows travel in."""

    def leave(self) -> None:
        """Nobody to tell."""


def measure(world: int, sampler: str, policy: str, steps: int) -> dict[str, float]:
    """Microseconds of CPU time of each job, per step."""
    peers, run = Answering(world), Job.run
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(job: Job[Any]) -> None:
        name = job._work.__qualname__.rpartition(".")[2]
        start, answered = time.thread_time(), peers.seconds
        run(job)
        seconds[name].append(time.thread_time() - start - (peers.seconds - answered))

    with (
        mock.patch.object(async_buffer, "Peers", lambda *_, **__: peers),
        mock.patch.object(async_buffer, "place_in", lambda _: (peers.rank, world)),
        mock.patch.object(Job, "run", timed),
    ):
        memory = AsyncRehearsalBuffer(ROWS * world, replay=REPLAY, sampler=sampler, policy=policy)
        memory.open()
        x = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
        for step in range(WARM + steps):
            memory.collect()
            tasks = torch.full((BATCH,), step // STEPS_OF_TASK)
            memory.add({"x": x.clone(), "y": torch.randint(0, CLASSES, (BATCH,)), "task_id": tasks})
            memory.flush()
        memory.close()
    return {PARTS[name]: 1e6 * sorted(times[WARM:])[steps // 10] for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    use_one_thread()
    rows, verdicts = [], []
    for world in WORKERS:
        for sampler, policy in CASES:
            parts = measure(world, sampler, policy, options.steps)
            total = sum(parts.values())
            rows.append({"workers": world, "sampler": sampler, "policy": policy, **parts, "in all (us)": total})
            if world == BAR_WORKERS:
                verdicts.append(
                    f"`{sampler}`, `{policy}`, {world} workers: at most {total:.0f} us a step "
                    f"(bar {BAR} us {'reached' if total <= BAR else 'missed'})."
                )
    content = {**environment(), "steps": options.steps, "rows": rows, "verdicts": verdicts}
    write("lock", content, "\n\n".join([markdown_table(rows), *verdicts]))


if __name__ == "__main__":
    main()

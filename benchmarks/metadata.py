"""What a buffer notes of each row, beside the row: its bytes, and what it takes to save, restore and re-shard it.

1,000 classes, in 10 tasks. Times are those of a class-balanced policy and sampler. The rows themselves are never
touched.

Run: python benchmarks/metadata.py [--rows 1e7]. Writes benchmarks/results/metadata.*.
"""

import argparse
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from clocked import use_one_thread
from common import Seconds, environment, markdown_table, write

from redwood.buffers import RehearsalBuffer
from redwood.buffers.distributed.resharding import reshard
from redwood.buffers.state_validation import restored_components
from redwood.core.state import State

N_CLASSES, N_TASKS, BATCH, LOCATED = 1000, 10, 100_000, 10_000
# Policies and samplers: one table of classes for both; a table of tasks beside it; that of tasks alone.
BALANCED = ("class_balanced", "class_balanced")
COMBINATIONS = [BALANCED, ("class_balanced", "old_tasks"), ("ring", "class_balanced"), ("ring", "old_tasks")]
COMBINATIONS += [("reservoir", "uniform"), ("reservoir", "old_tasks")]
WORKERS, WORKERS_AFTER = 4, 3
# Bars: bytes a row, 5 % included, and seconds to re-shard.
BYTES, SECONDS = 16 * 1.05, 5.0


def filled(n: int, seed: int = 0, policy: str = BALANCED[0], sampler: str = BALANCED[1]) -> RehearsalBuffer:
    """A buffer of `n` rows whose metadata is there, and whose rows are allocated and not written."""
    buffer = RehearsalBuffer(n, policy=policy, sampler=sampler, tier="host", seed=seed)
    labels = torch.arange(n) * 7919 % N_CLASSES
    buffer.ensure_rows({"y": labels[:0]})
    for part in labels.split(BATCH):
        buffer.propose(buffer.candidate_info({"y": part}, tasks=part * N_TASKS // N_CLASSES))
    return buffer


def state_of(buffer: RehearsalBuffer) -> State:
    """What a checkpoint holds beside the rows."""
    return buffer.bookkeeping() | {"rows": {"y": torch.empty(0, dtype=torch.int64)}}


def resident() -> int:
    """Bytes of memory in use by this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def measure_bytes(n: int) -> dict[str, Any]:
    """Bytes a row: what was allocated and kept, of arrays, and of the process."""
    filled(BATCH)  # libraries set themselves up
    before = resident()
    buffer = filled(n)
    process = (resident() - before) / n
    groups, statistics = buffer.policy.classes, buffer.bookkeeping()["slot_statistics"]
    assert groups is not None
    arrays = (groups.nbytes + sum(part.nbytes for part in statistics.values())) / n
    return {"arrays (bytes a row)": arrays, "resident memory of the process": process}


def measure_combination(n: int, policy: str, sampler: str) -> dict[str, Any]:
    """Bytes a row of a policy and a sampler, by what was allocated and kept."""
    tracemalloc.start()
    buffer = filled(n, policy=policy, sampler=sampler)
    # Tensors are not traced; the two of the statistics are 8 bytes a row.
    traced = 8 + tracemalloc.get_traced_memory()[0] / len(buffer)
    tracemalloc.stop()
    return {"policy": policy, "sampler": sampler, "traced (bytes a row)": traced}


def timed(work: Callable[[], object]) -> dict[str, float]:
    start = Seconds.now()
    work()
    took = Seconds.now().since(start)
    return {"CPU (s)": took.cpu, "wall (s)": took.wall}


def measure_one(n: int) -> list[dict[str, Any]]:
    """Seconds of the operations on one buffer."""
    buffer = filled(n)
    groups, numbers = torch.arange(LOCATED) % N_CLASSES, torch.arange(LOCATED) % (n // N_CLASSES)
    rows = [{"what": f"find the slots of {LOCATED:,} rows", **timed(lambda: buffer.sampler.locate(groups, numbers))}]
    state: State = {}
    rows.append({"what": "state", **timed(lambda: state.update(state_of(buffer)))})
    state["rows"] = {"y": torch.zeros(1, dtype=torch.int64).expand(n)}
    restore = timed(lambda: restored_components(state, buffer.policy, buffer.sampler, n))
    return [*rows, {"what": "restore", **restore}]


def measure_resharding(n: int) -> dict[str, Any]:
    """Seconds in which one of the new workers finds its rows among those of all."""
    states = [state_of(filled(n // WORKERS, seed)) for seed in range(WORKERS)]
    new = RehearsalBuffer(-(-n // WORKERS_AFTER), policy="class_balanced", sampler="class_balanced", tier="host")
    what = f"re-shard from {WORKERS} to {WORKERS_AFTER} workers, one of them"
    return {"what": what, **timed(lambda: reshard(states, new, 0, WORKERS_AFTER))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e7)
    n = int(parser.parse_args().rows)
    use_one_thread()
    sizes, times = measure_bytes(n), [*measure_one(n), measure_resharding(n)]
    combinations = [measure_combination(n // 10, *names) for names in COMBINATIONS]
    size, seconds = sizes["arrays (bytes a row)"], times[-1]["CPU (s)"]
    verdicts = [
        f"Policy and sampler `class_balanced`: {size:.2f} bytes a row (bar {BYTES:.1f} "
        f"{'reached' if size <= BYTES else 'missed'}).",
        f"Re-sharding takes {seconds:.1f} s of CPU time (bar {SECONDS:.0f} s "
        f"{'reached' if seconds <= SECONDS else 'missed'}).",
    ]
    above = [row for row in combinations if row["traced (bytes a row)"] > BYTES]
    verdicts += [
        "Above it, with a second table or a queue: "
        + ", ".join(f"`{row['policy']}` with `{row['sampler']}` ({row['traced (bytes a row)']:.1f})" for row in above)
        + "."
    ]
    content = {**environment(), "stored rows": n, "bytes": sizes, "combinations": combinations, "rows": times}
    tables = [markdown_table(table) for table in ([sizes], combinations, times)]
    write(
        "metadata",
        content | {"verdicts": verdicts},
        "\n\n".join([f"{n:,} rows, {N_CLASSES:,} classes; combinations: a tenth of the rows.", *tables, *verdicts]),
    )


if __name__ == "__main__":
    main()

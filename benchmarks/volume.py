"""What rehearsal sends, counted at the collectives, and whether its memory stays as it is.

Each stored sample tells which worker stored it, so the rows that have to travel can be counted without asking the
buffer: they are those that a worker replays and did not store itself.

Run: python benchmarks/volume.py [--steps N]. Writes benchmarks/results/volume.{json,md}.
"""

import argparse
import tempfile
from typing import Any

import torch
from common import environment, markdown_table, write
from volume_worker import MEMORY, work

Rows = list[dict[str, Any]]
# Bars: share of the counts in what is sent, how far the mean may be from what is expected, and how much more than its
# rows a buffer may hold, or grow by.
COUNTS, OFF, MORE = 0.01, 0.02, 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="steps over which memory is watched")
    parser.add_argument("--counted", type=int, default=1500, help="steps over which bytes are counted")
    options = parser.parse_args()
    torch.set_num_threads(1)
    volumes, held = measure(2, options.counted, options.steps)
    for world in (4, 8):
        volumes += measure(world, options.counted, 0)[0]
    verdicts = [*volume_verdicts(volumes), *memory_verdicts(held)]
    text = [
        f"r = 7, {options.counted} steps after the buffers were filled, no other communication. Bytes are those that a "
        "worker sends in a step, the mean over workers: rows, and counts to each of the others.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(volumes),
        f"Memory of one of two workers, {MEMORY['buffer_size']} samples stored in all:",
        markdown_table(held),
    ]
    write("volume", {**environment(), "volume": volumes, "memory": held, "verdicts": verdicts}, "\n\n".join(text))


def measure(world: int, counted: int, steps: int) -> tuple[Rows, Rows]:
    """Volume with this many processes, and memory over `steps` steps."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, f"{folder}/store", counted, steps, f"{folder}/results")
        torch.multiprocessing.spawn(work, arguments, nprocs=world)
        volumes, memory = torch.load(f"{folder}/results")
    return volumes, memory


def volume_verdicts(volumes: Rows) -> list[str]:
    """Whether only what has to travel does."""
    most = max(row["collectives per step"] for row in volumes)
    exact = all(row["rows sent"] == row["rows needed"] for row in volumes)
    off = max(abs(row["sent / expected"] - 1) for row in volumes)
    large = [row for row in volumes if row["row (bytes)"] >= 1e5]
    small = [row for row in volumes if row["row (bytes)"] < 1e5]
    return [
        f"Collectives per step: {most:g} (bar 2: {_reached(most <= 2)}).",
        f"Bytes of rows sent are {'exactly' if exact else 'not'} those of the samples that were replayed elsewhere.",
        f"They are within {100 * off:.1f} % of r (N - 1) / N rows (bar {100 * OFF:.0f} %: {_reached(off <= OFF)}).",
        *(_counts_verdict(rows) for rows in (large, small)),
    ]


def _counts_verdict(rows: Rows) -> str:
    share = max(row["share of counts"] for row in rows)
    sizes = " and ".join(sorted({str(row["row (bytes)"]) for row in rows}))
    return (
        f"Counts are at most {100 * share:.2f} % of what is sent with rows of {sizes} bytes "
        f"(bar {100 * COUNTS:.0f} %: {_reached(share <= COUNTS)})."
    )


def memory_verdicts(held: Rows) -> list[str]:
    """Whether memory stays as it is once the buffer is full."""
    rows, first, second, last = MEMORY["bytes"], held[0], held[1], held[-1]
    late = last["resident (bytes)"] - second["resident (bytes)"]
    growth, more = last["resident (bytes)"] - first["resident (bytes)"], last["tensors (bytes)"] / rows - 1
    grown = last["tensors (bytes)"] - first["tensors (bytes)"]
    return [
        f"From step {first['step']} to {last['step']} resident memory grows by {growth / 2**20:.2f} MiB, "
        f"{100 * growth / rows:.2f} % of the rows stored (bar {100 * MORE:.0f} %: {_reached(growth <= MORE * rows)}); "
        f"from step {second['step']} on by {late / 2**10:.0f} kiB. The tensors that are alive grow by {grown} bytes.",
        f"All tensors together take {100 * more:.2f} % more than the rows stored "
        f"(bar {100 * MORE:.0f} %: {_reached(more <= MORE)}).",
    ]


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"


if __name__ == "__main__":
    main()

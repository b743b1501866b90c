"""Bytes that each checkpoint of a buffer writes, and how long training waits for the copy of its rows.

A class-balanced buffer of 100,000 rows of 3 KiB, which has seen a million samples. It is saved every 10,000 samples:
once with all rows each time, and once with those that have changed.

Run: python benchmarks/checkpoint_bytes.py [--rows 1e5]. Writes benchmarks/results/checkpoint_bytes.*.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from clocked import use_one_thread
from common import Seconds, environment, markdown_table, write

from redwood.buffers import RehearsalBuffer
from redwood.buffers.distributed.changed_rows import SavedRows, link_unchanged
from redwood.buffers.distributed.checkpoint import take_snapshot, write_checkpoint

N_CLASSES, ROW, SEEN, BATCH, BETWEEN, SAVES = 100, 3072, 10, 1000, 10, 12


def offer(buffer: RehearsalBuffer) -> None:
    first = buffer.n_seen
    labels = torch.arange(first, first + BATCH) * 7919 % N_CLASSES
    buffer.add({"x": torch.full((BATCH, ROW), first % 251, dtype=torch.uint8), "y": labels})


def save(buffer: RehearsalBuffer, saved: SavedRows | None, folder: Path) -> tuple[dict[str, Any], SavedRows | None]:
    """Save once; what it took, and what the next save may refer to."""
    start = Seconds.now()
    snapshot = take_snapshot(buffer, {}, link_unchanged(buffer, saved, folder))
    waited = Seconds.now().since(start).wall
    saved = write_checkpoint(snapshot, folder, 0, 1, None)
    took = Seconds.now().since(start).wall
    written = sum(file.stat().st_size for file in folder.iterdir() if file.stat().st_nlink == 1)
    files = len(list(folder.glob("*.bin")))
    row = {"rows written": len(snapshot.words), "MB written": written / 1e6, "files of rows": files}
    return row | {"training waits (s)": waited, "save (s)": took}, saved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e5)
    n = int(parser.parse_args().rows)
    use_one_thread()
    buffer = RehearsalBuffer(n, policy="class_balanced", sampler="class_balanced", tier="host")
    while buffer.n_seen < SEEN * n:
        offer(buffer)
    whole, changed, latest = [], [], None
    with tempfile.TemporaryDirectory() as name:
        for number in range(SAVES):
            row, _ = save(buffer, None, Path(name) / "whole")
            whole.append(row)
            row, latest = save(buffer, latest, Path(name) / str(number))
            changed.append({"checkpoint": number + 1, **row})
            shutil.rmtree(Path(name) / str(number - 1), ignore_errors=True)
            for _ in range(BETWEEN):
                offer(buffer)
    increments = [row for row in changed if row["rows written"] < n]
    ratio = median(row["MB written"] for row in increments) / median(row["MB written"] for row in whole)
    waits = [median(row["training waits (s)"] for row in rows) for rows in (whole, increments)]
    verdicts = [
        f"All rows: {median(row['MB written'] for row in whole):,.0f} MB a checkpoint. "
        f"Changed rows: {ratio:.1%} of that (median of the checkpoints that link files).",
        f"Over {SAVES} checkpoints: {sum(row['MB written'] for row in changed):,.0f} MB in place of "
        f"{sum(row['MB written'] for row in whole):,.0f} MB.",
        f"Training waits {waits[1] * 1e3:.0f} ms in place of {waits[0] * 1e3:.0f} ms (medians).",
    ]
    content = {**environment(), "stored rows": n, "all rows": whole, "changed rows": changed, "verdicts": verdicts}
    head = f"{n:,} rows of {ROW:,} bytes, {N_CLASSES} classes; {BETWEEN * BATCH:,} samples between two checkpoints."
    write("checkpoint_bytes", content, "\n\n".join([head, markdown_table(changed), *verdicts]))


if __name__ == "__main__":
    main()

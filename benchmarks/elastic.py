"""What a kill costs a run under torchrun: one of four workers is killed again and again, and the run goes on.

The run is the one of tests/buffers/strategy/elastic_script.py: a plain Lightning Trainer, with rows in shared memory.
What it comes to is compared with runs from the same checkpoints, whose rows are read from disk.

Run: python benchmarks/elastic.py [--kills N]. Writes benchmarks/results/elastic.{json,md}.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.buffers.strategy.elastic_runs import (
    Restart,
    kill_often,
    nothing_is_left,
    plain,
    step_of,
    weights_from,
    weights_in,
)
from tests.workers import GlooWorkers

WORLD, SEED, LONGEST_S, REST = 4, 7, 1.5, 25
LOST = "Rows are read from the checkpoint"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often a worker is killed")
    kills = parser.parse_args().kills
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # More steps than can be taken between all kills.
        steps = REST * (kills + 1)
        with plain(folder, WORLD, steps, restarts=kills) as run:
            restarts = kill_often(run, WORLD, kills, LONGEST_S, SEED)
            status, output = run.wait(), run.output
        is_clean = nothing_is_left(run)
        ends = [restart.path for restart in restarts[1:]] + [folder / "checkpoints" / f"step={steps}.ckpt"]
        with GlooWorkers() as workers:
            same = [is_same(workers, folder, restart.path, end) for restart, end in zip(restarts, ends, strict=True)]
    rows = [row_of(restart, equal) for restart, equal in zip(restarts, same, strict=True)]
    own = [restart.went_on_s - restart.import_s for restart in restarts]
    undone = sum(restart.undone for restart in restarts)
    assert undone, "no row had to be put back: this says nothing of the journal"
    compared = [equal for equal in same if equal is not None]
    verdicts = [
        f"{len(restarts)} of {kills} kills: the run went on by itself, and ended with exit status {status}.",
        f"From the kill to the next step of all workers: {median(own):.1f} s + import time (median; {max(own):.1f} s "
        f"at most). Imports took {median([restart.import_s for restart in restarts]):.1f} s (median).",
        f"{undone} rows, overwritten after the checkpoint, were put back by the journals of the workers.",
        f"{output.count(LOST)} times a worker had to read its rows from disk.",
        f"{sum(compared)} of {len(compared)} times the weights at the next checkpoint that was gone on from, or in the "
        "end, were bit for bit those of a run from the same checkpoint whose rows are read from disk.",
        "No file in shared memory and no process was left." if is_clean else "Files or processes were left.",
    ]
    text = [
        f"One of {WORLD} processes (gloo, one machine) gets a SIGKILL up to {LONGEST_S} s after all have begun a step. "
        "A step takes 50 ms or more; every fifth one is saved. torchrun looks after its workers ten times a second, "
        "and starts all of them again. The policy `ring` overwrites four rows of each worker in each step.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(rows),
    ]
    write("elastic", {**environment(), "kills": rows, "verdicts": verdicts}, "\n\n".join(text))


def is_same(workers: GlooWorkers, folder: Path, start: Path, end: Path) -> bool | None:
    """Whether a run from one checkpoint to the next comes to the same weights; None if both are one."""
    if start == end:
        return None
    steps = step_of(end)
    reference = workers.run(WORLD, weights_from, start, folder / f"from {start.stem} to {end.stem}", steps)
    return all(map(torch.equal, reference[0], weights_in(end)))


def row_of(restart: Restart, is_same: bool | None) -> dict[str, Any]:
    """What became of one kill."""
    return {
        "killed": f"worker {restart.rank} in step {restart.killed_after}",
        "went on from step": step_of(restart.path),
        "rows put back": restart.undone,
        "after (s)": round(restart.went_on_s, 1),
        "of which imports (s)": round(restart.import_s, 1),
        "weights as from there": {None: "no further checkpoint", True: "yes", False: "no"}[is_same],
    }


if __name__ == "__main__":
    main()

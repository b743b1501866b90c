"""What becomes of a run of four workers of which one is killed, at random moments.

The runs, and what is asked of them, are those of tests/buffers/strategy/test_failure.py.

Run: python benchmarks/failure.py [--moments N]. Writes benchmarks/results/failure.{json,md}.
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

from tests.buffers.strategy.kill_runs import (
    SAVE_EVERY,
    STEPS,
    WORLD,
    Ending,
    Outcome,
    go_on,
    goes_on,
    kill_and_resume,
    says_that_a_worker_is_lost,
)
from tests.workers import GlooWorkers

FIRST_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20, help="how many runs are killed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with GlooWorkers() as workers, tempfile.TemporaryDirectory() as folder:
        whole = workers.run(WORLD, go_on, Path(folder) / "whole", None)
        outcomes = [
            kill_and_resume(workers, Path(folder) / str(seed), seed)
            for seed in range(FIRST_SEED, FIRST_SEED + options.moments)
        ]
    rows = [row_of(outcome, whole) for outcome in outcomes]
    seconds = [fate.seconds for outcome in outcomes for fate in outcome.fates.values()]
    n_told = sum(says_that_a_worker_is_lost(fate) for outcome in outcomes for fate in outcome.fates.values())
    n_resumed = sum(row["resumed as if whole"] == "yes" for row in rows)
    verdicts = [
        f"{n_told} of {len(seconds)} processes that were left ended with exit status 1 and the one sentence of a "
        "`WorkerLostError`.",
        f"They ended {median(seconds):.1f} s after the kill (median; {max(seconds):.1f} s at most).",
        f"{n_resumed} of {len(rows)} runs went on from the newest checkpoint to the weights of the run that nobody "
        "killed, on the same samples and draws.",
    ]
    text = [
        f"One of {WORLD} processes (gloo) gets a SIGKILL at a random moment of {STEPS} steps, with random delays on "
        f"each worker and a checkpoint every {SAVE_EVERY} steps. Seconds include the end of the interpreter.",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        markdown_table(rows),
    ]
    write("failure", {**environment(), "moments": rows, "verdicts": verdicts}, "\n\n".join(text))


def row_of(outcome: Outcome, whole: list[Ending]) -> dict[str, Any]:
    """What became of one run."""
    fates = outcome.fates.values()
    is_whole = all(goes_on(*endings, outcome.saved) for endings in zip(whole, outcome.resumed, strict=True))
    return {
        "killed": f"worker {outcome.worker}, {outcome.delay_ms:.0f} ms after step {outcome.step} began",
        "others ended after (s)": ", ".join(f"{fate.seconds:.1f}" for fate in fates),
        "exit status": ", ".join(sorted({str(fate.status) for fate in fates})),
        "error": ", ".join(sorted({str(fate.error) for fate in fates})),
        "resumed from step": outcome.saved,
        "resumed as if whole": "yes" if is_whole else "no",
    }


if __name__ == "__main__":
    main()

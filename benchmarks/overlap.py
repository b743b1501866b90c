"""What asynchronous rehearsal adds to a training step, against the same number of samples that are in memory already.

The loop is plain PyTorch (DistributedDataParallel over gloo, one torch thread per process) with the calls that
`AsyncRehearsalStrategy` makes, in its order; so all ways to train can take turns in one run, which two Trainers cannot.

Run: python benchmarks/overlap.py [--quick]. Writes benchmarks/results/overlap.{json,md,png}.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, environment, markdown_table, write
from overlap_cases import BATCH, CANDIDATES, LINK, REPLAY, all_cases
from overlap_picture import draw
from overlap_report import (
    Measured,
    curve_table,
    curve_verdict,
    main_table,
    main_verdicts,
    replay_table,
)
from overlap_worker import work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps of each, and nothing is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, loads = time.perf_counter(), [os.getloadavg()[0]]
    found = [one for world in ((2,) if options.quick else (2, 4)) for one in measure(world, options.quick)]
    loads.append(os.getloadavg()[0])
    report(found, loads, time.perf_counter() - start, options.quick)


def measure(world: int, quick: bool) -> list[Measured]:
    """All cases with this many processes, which are started once."""
    cases = all_cases(world, quick)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (world, f"{folder}/store", cases, f"{folder}/results")
        torch.multiprocessing.spawn(work, arguments, nprocs=world)
        measured = torch.load(f"{folder}/results")
    return [Measured(case, world, processes) for case, processes in zip(cases, measured, strict=True)]


def report(found: list[Measured], loads: list[float], seconds: float, quick: bool) -> None:
    """Write the tables, the verdicts and the picture."""
    parts = {
        part: [one for one in found if one.case.part == part] for part in dict.fromkeys(f.case.part for f in found)
    }
    main, trains = parts["main"], curve_table(parts["training time"], "training (ms)")
    delays, replays = curve_table(parts["delay of the link"], "delay (ms)"), replay_table(parts["replay"])
    verdicts = [verdict for one in main for verdict in main_verdicts(one)]
    verdicts += [curve_verdict(trains, "training time"), curve_verdict(delays, "delay of the link")]
    text = [
        f"b = {BATCH}, r = {REPLAY}, c = {CANDIDATES}, rows of bytes, policy `per_class_random`; DDP over gloo, one "
        "torch thread per process, on two cores. Step times are medians over all steps, ratios medians over turns. "
        "An idle host stands for a GPU: the forward pass sleeps 25 ms for b samples. CPU time is that of one process. "
        "calls: what the calls into the buffer took; wait: what the training waited for, in the asynchronous variants; "
        "merge: joining incoming and replayed samples, left to what stands for the GPU where the title says so; "
        "the other parts are in the background there.",
        f"Load average {loads[0]:.2f} at the start and {loads[1]:.2f} at the end; {seconds:.0f} s in all.",
        "## Verdicts",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        *(part for one in main for part in (f"## {one.label}", markdown_table(main_table(one)))),
        f"## Training time of a step, idle host, 2 processes, link slowed by {LINK:g} ms",
        markdown_table(trains),
        "## Delay of the link, idle host of 25 ms, 2 processes",
        markdown_table(delays),
        "## Representatives r, 2 processes",
        markdown_table(replays),
        "![Overlap](overlap.png)",
    ]
    if quick:
        print("\n\n".join(text))
        draw(main, trains, delays, replays, Path(tempfile.gettempdir()) / "overlap.png")
        return
    content: dict[str, Any] = {**environment(), "load": loads, "seconds": seconds, "verdicts": verdicts}
    content["main"] = [{"case": one.label, "variants": main_table(one), "steps": _steps(one)} for one in main]
    content |= {"training time": trains, "delay of the link": delays, "replay": replays}
    draw(main, trains, delays, replays, RESULTS / "overlap.png")
    write("overlap", content, "\n\n".join(text))


def _steps(one: Measured) -> dict[str, int]:
    return {name: sum(map(len, turns)) for name, turns in one.times.items()}


if __name__ == "__main__":
    main()

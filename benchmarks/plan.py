"""What it costs one worker to know which rows it draws from all workers, and which of its rows they draw.

About 1,000 rows on each worker, and more where it plans its part alone; 100 classes, 10 tasks; one thread.

Run: python benchmarks/plan.py. Writes benchmarks/results/plan.*.
"""

import argparse
from collections.abc import Callable
from itertools import count, product
from statistics import quantiles

import torch
from clocked import use_one_thread
from common import Seconds, environment, markdown_table, take_turns, write

from redwood.buffers import SAMPLERS
from redwood.buffers.randomness import CounterRandom
from redwood.buffers.samplers.counts import GroupCounts

N_GROUPS = {"uniform": 1, "class_balanced": 100, "task_balanced": 10, "old_tasks": 10}
WORKERS, DRAWS = (2, 8, 64, 1024, 16384), (7, 64)
# On so many workers, only samplers that do not plan for all of them are measured.
MANY, WITHOUT_WHOLE = 16384, ("uniform", "old_tasks")
# Rows on each worker; the larger numbers for samplers whose work they decide, on many workers with the most draws.
FEW_ROWS, MORE_ROWS = 1000, (100_000, 1_000_000)
# Bars in microseconds: sampler, workers, draws.
BARS = {
    ("uniform", 2, 7): 200,
    ("uniform", 1024, 64): 300,
    ("uniform", 16384, 64): 2000,
    ("class_balanced", 64, 64): 5000,
}


def cases() -> list[tuple[str, int, int, int]]:
    """What is measured: sampler, workers, draws of each, rows of each."""
    few = [case for case in product(N_GROUPS, WORKERS, DRAWS) if case[1] < MANY or case[0] in WITHOUT_WHOLE]
    return [(*case, FEW_ROWS) for case in few] + list(product(WITHOUT_WHOLE, WORKERS[-2:], DRAWS[-1:], MORE_ROWS))


def planning(sampler: str, workers: int, draws: int, rows: int) -> Callable[[], Seconds]:
    """What takes the time of one worker's part of the plan, of one step after the other."""
    generator, n_groups = torch.Generator().manual_seed(0), N_GROUPS[sampler]
    mean = rows // n_groups
    counts = torch.randint(mean - mean // 10, mean + mean // 10 + 1, (workers, n_groups), generator=generator)
    group_counts = GroupCounts(torch.arange(n_groups), counts, torch.full((workers,), n_groups - 1))
    random, steps = CounterRandom(0, "shared draws"), count()

    def run() -> Seconds:
        step, start = next(steps), Seconds.now()
        SAMPLERS[sampler].part(random, step, draws, group_counts, workers // 2)
        return Seconds.now().since(start)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    use_one_thread()
    # Apart: what plans of many rows leave in the caches is nothing for those of few.
    few, more = ([case for case in cases() if (case[3] == FEW_ROWS) is is_few] for is_few in (True, False))
    timings = {}
    for together in (few, more):
        timings |= take_turns({str(case): planning(*case) for case in together}, options.rounds)
    rows, verdicts = [], []
    for case in cases():
        times = timings[str(case)]
        low, middle, high = quantiles([time.cpu * 1e6 for time in times], n=4)
        rows.append(
            {
                "sampler": case[0],
                "workers": case[1],
                "draws of each": case[2],
                "rows of each": case[3],
                "part (us, CPU)": middle,
                "quartiles": f"{low:.0f} to {high:.0f}",
                "wall (us)": quantiles([time.wall * 1e6 for time in times], n=4)[1],
            }
        )
        if bar := BARS.get(case[:3]):
            verdicts.append(
                f"`{case[0]}`, {case[1]} workers, {case[2]} draws and {case[3]:,} rows of each: {middle:.0f} us "
                f"(bar {bar} us {'reached' if middle <= bar else 'missed'})."
            )
    content = {**environment(), "rounds": options.rounds, "rows": rows, "verdicts": verdicts}
    write("plan", content, "\n\n".join([markdown_table(rows), *verdicts]))


if __name__ == "__main__":
    main()

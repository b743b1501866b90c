"""What it costs a worker to plan who draws what from all workers, and to take its own part of the plan.

About 1,000 rows on each worker, 100 classes, 10 tasks; one thread.

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
from redwood.buffers.samplers.exchange_plan import exchange_plan

N_ROWS, N_GROUPS = 1000, {"uniform": 1, "class_balanced": 100, "task_balanced": 10, "old_tasks": 10}
WORKERS, DRAWS = (2, 8, 64, 1024), (7, 64)
# Bars in microseconds: sampler, workers, draws.
BARS = {("uniform", 2, 7): 200, ("uniform", 1024, 64): 1000, ("class_balanced", 64, 64): 5000}


def planning(sampler: str, workers: int, draws: int) -> Callable[[], tuple[Seconds, Seconds]]:
    """What takes the times of a plan, and of the part of worker 0, of one step after the other."""
    generator, n_groups = torch.Generator().manual_seed(0), N_GROUPS[sampler]
    mean = N_ROWS // n_groups
    counts = torch.randint(mean - mean // 10, mean + mean // 10 + 1, (workers, n_groups), generator=generator)
    group_counts = GroupCounts(torch.arange(n_groups), counts, torch.full((workers,), n_groups - 1))
    random, steps = CounterRandom(0, "shared draws"), count()

    def run() -> tuple[Seconds, Seconds]:
        step, start = next(steps), Seconds.now()
        plan = SAMPLERS[sampler].plan(random, step, draws, group_counts)
        planned = Seconds.now()
        exchange_plan(plan, 0, workers)
        return planned.since(start), Seconds.now().since(planned)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    use_one_thread()
    cases = list(product(N_GROUPS, WORKERS, DRAWS))
    timings = take_turns({str(case): planning(*case) for case in cases}, options.rounds)
    rows, verdicts = [], []
    for case in cases:
        times = timings[str(case)]
        low, middle, high = quantiles([(plan.cpu + part.cpu) * 1e6 for plan, part in times], n=4)
        rows.append(
            {
                "sampler": case[0],
                "workers": case[1],
                "draws of each": case[2],
                "plan and part (us, CPU)": middle,
                "quartiles": f"{low:.0f} to {high:.0f}",
                "part alone (us, CPU)": quantiles([part.cpu * 1e6 for _, part in times], n=4)[1],
                "plan and part (us, wall)": quantiles([(plan.wall + part.wall) * 1e6 for plan, part in times], n=4)[1],
            }
        )
        if case in BARS:
            verdicts.append(
                f"`{case[0]}`, {case[1]} workers, {case[2]} draws of each: {middle:.0f} us (bar {BARS[case]} us "
                f"{'reached' if middle <= BARS[case] else 'missed'})."
            )
    content = {**environment(), "rounds": options.rounds, "rows": rows, "verdicts": verdicts}
    write("plan", content, "\n\n".join([markdown_table(rows), *verdicts]))


if __name__ == "__main__":
    main()

"""What it saves to train the seeds of a comparison side by side: ten seeds of the main job against one.

The demand is that the training of ten seeds takes at most 2.5 times as long as that of one, with equal accuracies.
The arithmetic of ten seeds, by itself, is measured too: nothing can be faster on one thread.

Run: OMP_NUM_THREADS=1 python benchmarks/stacked.py [--seeds 10] [--rounds 3]. Writes
benchmarks/results/stacked.{json,md}. It takes 3 minutes.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from common import Seconds, environment, markdown_table, take_turns, write
from torch.nn import functional as F

from redwood.engine.run import Run
from redwood.engine.stack import Member, run_stack
from redwood.methods import get_method
from redwood.methods.training.stacked import train_stacked
from redwood.methods.training.stacked_network import StackedNetwork
from redwood.settings import ClassIncrementalSetting
from redwood.settings.results import Results

LIMIT = 2.5
METHODS = ("rehearsal", "finetune", "der_pp", "ewc")


class Watch:
    """Counts the seconds of training, phase by phase."""

    def __init__(self) -> None:
        self.seconds = Seconds(0.0, 0.0)

    def timed(self, train: Callable[..., Any]) -> Callable[..., Any]:
        """`train`, whose time is counted."""

        def call(*arguments: Any) -> Any:
            start = Seconds.now()
            try:
                return train(*arguments)
            finally:
                self.seconds = self.seconds.plus(Seconds.now().since(start))

        return call


def quiet() -> Run:
    """A run on the CPU that writes nothing."""
    return Run(quiet=True, accelerator="cpu")


def alone(method: str, seed: int) -> tuple[Seconds, list[Results]]:
    """Train one seed as a single run."""
    watch, learner = Watch(), get_method(method)()
    learner.fit = watch.timed(learner.fit)
    results = ClassIncrementalSetting(seed=seed).apply(learner, quiet=True, accelerator="cpu")
    return watch.seconds, [results]


def stacked(method: str, n_seeds: int) -> tuple[Seconds, list[Results]]:
    """Train several seeds side by side."""
    watch = Watch()
    members = [Member(ClassIncrementalSetting(seed=seed), get_method(method)(), quiet()) for seed in range(n_seeds)]
    ends = run_stack(members, watch.timed(train_stacked))
    for end in ends:
        if not isinstance(end, Results):
            raise end
    return watch.seconds, ends


def arithmetic(n_seeds: int, steps: int = 200) -> float:
    """Milliseconds of one step of the networks alone: 64 samples each, forward, backward, optimizer."""
    learner = get_method("finetune")()
    learner.attach(quiet())
    learner.configure(ClassIncrementalSetting().for_method())
    network = StackedNetwork([learner.network] * n_seeds)
    optimizer = torch.optim.SGD(network.weights, lr=0.01)
    x, y = torch.randint(0, 16, (n_seeds, 64, 1, 8, 8)), torch.randint(0, 10, (n_seeds * 64,))
    taken = []
    for _ in range(steps):
        start = time.process_time()
        optimizer.zero_grad()
        (F.cross_entropy(network(x).flatten(0, 1), y) * n_seeds).backward()
        optimizer.step()
        taken.append(time.process_time() - start)
    return 1e3 * median(taken)


def compare(method: str, n_seeds: int, rounds: int) -> dict[str, Any]:
    """Time one seed and all of them in turns, and compare the accuracies of all."""
    variants = {"one": partial(alone, method, 0), "all": partial(stacked, method, n_seeds)}
    taken = take_turns(variants, rounds)
    seconds = {name: [one for one, _ in each] for name, each in taken.items()}
    ratios = {
        kind: median(getattr(b, kind) / getattr(a, kind) for a, b in zip(seconds["one"], seconds["all"], strict=True))
        for kind in ("wall", "cpu")
    }
    single = [alone(method, seed)[1][0] for seed in range(n_seeds)]
    equal = [a.accuracy_matrix == b.accuracy_matrix for a, b in zip(single, taken["all"][0][1], strict=True)]
    return {
        "method": method,
        "one_cpu_s": median(each.cpu for each in seconds["one"]),
        "all_cpu_s": median(each.cpu for each in seconds["all"]),
        "ratio_cpu": ratios["cpu"],
        "ratio_wall": ratios["wall"],
        "equal_matrices": f"{sum(equal)} of {n_seeds}",
    }


def report(rows: Sequence[Mapping[str, Any]], floor: Mapping[int, float], n_seeds: int, rounds: int) -> str:
    """The table and what it says about the demand."""
    missed = [row["method"] for row in rows if row["ratio_cpu"] > LIMIT]
    verdict = f"missed by {', '.join(missed)}" if missed else "met"
    return (
        f"Training of {n_seeds} seeds side by side against one, main job's options, rounds: {rounds}. The demand of a "
        f"ratio of {LIMIT} is {verdict}.\n\n{markdown_table(rows)}\n\n"
        f"The networks alone, with 64 samples each, take {floor[1]:.2f} ms a step for one and {floor[n_seeds]:.2f} ms "
        f"for {n_seeds}: on one thread the arithmetic sets a floor that no stack can go below."
    )


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    rows = [compare(method, options.seeds, options.rounds) for method in options.methods]
    floor = {n: arithmetic(n) for n in (1, options.seeds)}
    text = report(rows, floor, options.seeds, options.rounds)
    write("stacked", {**environment(), "rows": rows, "arithmetic_ms": floor}, text)


if __name__ == "__main__":
    main()

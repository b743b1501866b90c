"""Five methods here and in Avalanche: the same tasks, initial weights, network, optimizer, batches and passes.

Digits, an MLP with two hidden layers of 256, SGD with a learning rate of 0.05, batches of 32, 10 passes, 5 tasks.
Replay, iCaRL and LwF: class-incremental, in an order drawn from the seed. EWC, SI and LwF: domain-incremental,
permuted. The strength of a penalty does not mean the same in the two libraries (EWC's Fisher information is of samples
here and of batches there), so the best of four is chosen for each, on other seeds than those reported.

Run: python benchmarks/peers.py (needs the extra `bench`). Writes benchmarks/results/peers.*.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import avalanche_methods
import avalanche_runs
import torch
from avalanche_methods import Samples
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write
from gymnasium.spaces import Box

from redwood.core.seeding import seed_everything
from redwood.methods import get_method
from redwood.methods.networks import build_network
from redwood.settings import ClassIncrementalSetting, DomainIncrementalSetting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.streams.cuts import ClassSplit, Permuted
from redwood.settings.streams.tasks import Cut, make_tasks

SEEDS, TUNING_SEEDS = range(5), (100, 101)
LR, BATCH_SIZE, PASSES, NB_TASKS, MEMORY = 0.05, 32, 10, 5, 50
CLASSES = "class-incremental, split"
PERMUTED = "domain-incremental, permuted"
# What Avalanche's replay does by default: equal parts for all classes so far, nothing of the task that is trained.
AS_THEIRS = {"buffer_policy": "class_balanced", "buffer_sampler": "old_tasks"}
# The penalties of the papers, in which Avalanche's strengths count, too.
AS_PAPER = {"importance_scale": "none"}
AS_EWC = {"ewc_form": "per_task", **AS_PAPER}


@dataclass(frozen=True)
class Contest:
    """One method in both libraries.

    Attributes:
        stream: `CLASSES` or `PERMUTED`.
        method: Its key here.
        option: Name of its strength here, or none.
        ours: Strengths to choose from here.
        plugins: Makes Avalanche's plugins for a strength; None stands for its iCaRL.
        theirs: Strengths to choose from there.
        fixed: Further options here.
    """

    stream: str
    method: str
    option: str | None
    ours: Sequence[float]
    plugins: Callable[[float], list[Any]] | None
    theirs: Sequence[float]
    fixed: dict[str, Any]


def _replay(strength: float) -> list[Any]:
    return avalanche_methods.replay(MEMORY, BATCH_SIZE)


CONTESTS = (
    Contest(CLASSES, "rehearsal", None, (1.0,), _replay, (1.0,), {"buffer_size": MEMORY}),
    Contest(CLASSES, "rehearsal", None, (1.0,), _replay, (1.0,), {"buffer_size": MEMORY, **AS_THEIRS}),
    Contest(CLASSES, "icarl", None, (1.0,), None, (1.0,), {"buffer_size": MEMORY}),
    Contest(CLASSES, "lwf", "lwf_alpha", (0.5, 1, 2, 5), avalanche_methods.lwf, (0.5, 1, 2, 5), {}),
    Contest(PERMUTED, "lwf", "lwf_alpha", (0.5, 1, 2, 5), avalanche_methods.lwf, (0.5, 1, 2, 5), {}),
    Contest(PERMUTED, "ewc", "ewc_lambda", (10, 30, 100, 300), avalanche_methods.ewc, (1, 10, 100, 1000), AS_EWC),
    Contest(PERMUTED, "si", "si_c", (0.1, 0.3, 1, 3), avalanche_methods.si, (0.001, 0.01, 0.1, 1), AS_PAPER),
)


def our_accuracy(contest: Contest, strength: float, seed: int) -> float:
    """Average accuracy here."""
    options = {**contest.fixed, **({contest.option: strength} if contest.option else {})}
    common = {"seed": seed, "nb_tasks": NB_TASKS, "passes": PASSES, "batch_size": BATCH_SIZE}
    setting = (
        ClassIncrementalSetting(**common)
        if contest.stream == CLASSES
        else DomainIncrementalSetting(stream="permuted", **common)
    )
    return setting.apply(get_method(contest.method)(lr=LR, model="mlp", **options), **RUN_OPTIONS).objective


def their_accuracy(contest: Contest, strength: float, seed: int) -> float:
    """Average accuracy in Avalanche, on the tasks and from the weights that redwood begins with."""
    data = load_dataset("digits", Path("data"), seed, 0)
    stream = ClassSplit() if contest.stream == CLASSES else Permuted()
    tasks, n_outputs = make_tasks(data, stream, Cut(NB_TASKS, contest.stream == PERMUTED, seed))
    train = [_samples(data.x, data.y, task, task.rows) for task in tasks]
    test = [_samples(data.x_test, data.y_test, task, task.rows_test) for task in tasks]
    seed_everything(seed, "weights")
    space = Box(0, data.max_value or 255, data.sample_shape, dtype="uint8")
    network: Any = build_network("mlp", space, n_outputs)
    return avalanche_methods.accuracy_of(
        network,
        train,
        test,
        plugins=None if contest.plugins is None else contest.plugins(strength),
        memory=MEMORY,
        lr=LR,
        batch_size=BATCH_SIZE,
        passes=PASSES,
    )


def _samples(x: Any, y: torch.Tensor, task: Any, rows: torch.Tensor) -> Samples:
    chosen = x[rows]
    return Samples(chosen if task.transform is None else task.transform(chosen), task.label_map[y[rows]])


def best(strengths: Sequence[float], accuracy: Callable[[float, int], float]) -> float:
    """The strength that does best on the tuning seeds."""
    if len(strengths) == 1:
        return strengths[0]
    return max(strengths, key=lambda strength: mean(accuracy(strength, seed) for seed in TUNING_SEEDS))


def judge(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Whether the accuracies agree within two standard deviations, or which are higher."""
    spread = 2 * max(stdev(ours), stdev(theirs))
    difference = mean(ours) - mean(theirs)
    if abs(difference) <= spread:
        return "agree"
    return "ours higher" if difference > 0 else "theirs higher"


def outcome(contest: Contest) -> dict[str, Any]:
    """A line of the table, and the accuracies behind it."""
    accuracies, chosen = [], []
    for strengths, accuracy in ((contest.ours, our_accuracy), (contest.theirs, their_accuracy)):
        run = partial(accuracy, contest)
        chosen.append(best(strengths, run))
        accuracies.append([run(chosen[-1], seed) for seed in SEEDS])
    ours, theirs = accuracies
    options = [f"--{name} {value}" for name, value in contest.fixed.items() if name != "buffer_size"]
    return {
        "stream": contest.stream,
        "method": " ".join([contest.method, *options]),
        "redwood": f"{mean(ours):.3f} +- {stdev(ours):.3f}",
        "Avalanche": f"{mean(theirs):.3f} +- {stdev(theirs):.3f}",
        "strengths": "" if contest.option is None else f"{chosen[0]:g}, {chosen[1]:g}",
        "verdict": judge(ours, theirs),
        "accuracies": {"redwood": ours, "avalanche": theirs},
    }


def report(contests: Sequence[dict[str, Any]]) -> None:
    """Write the table."""
    rows = [{name: value for name, value in contest.items() if name != "accuracies"} for contest in contests]
    content = {**environment(avalanche=avalanche_runs.version() or "not installed"), "contests": contests}
    write("peers", content, f"{(__doc__ or '').split('Run:')[0].strip()}\n\n{markdown_table(rows)}")


def main() -> None:
    """Run all contests."""
    use_one_thread()
    outcomes = []
    for contest in CONTESTS:
        outcomes.append(outcome(contest))
        print(outcomes[-1], flush=True)
    report(outcomes)


if __name__ == "__main__":
    main()

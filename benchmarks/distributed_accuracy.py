"""Asynchronous rehearsal on two workers against rehearsal in one process, fine-tuning and training from scratch.

Fashion-MNIST, its 60,000 images in one pass, 5 tasks of 2 classes in an order drawn from the seed; an MLP; batches of
64 in all: 2 x 32, or 64 in one process; 2,000 samples stored; as many replayed as come in. The variants take turns.

Run: python benchmarks/distributed_accuracy.py --data_dir DIR. Writes benchmarks/results/distributed_accuracy.*.
"""

import argparse
from statistics import mean, median, stdev
from typing import Any, NamedTuple

from clocked import use_one_thread
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

REHEARSAL = {"buffer_size": 2000, "replay_ratio": 1.0}


class Variant(NamedTuple):
    """A setting with a method, and the options of both."""

    setting: str
    method: str
    workers: int
    options: dict[str, Any]


VARIANTS = {
    "rehearsal, one process": Variant("class_incremental", "rehearsal", 1, REHEARSAL),
    "async_rehearsal": Variant("distributed_class_incremental", "async_rehearsal", 2, REHEARSAL),
    "rehearsal, a buffer per worker": Variant("distributed_class_incremental", "rehearsal", 2, REHEARSAL),
    "finetune": Variant("distributed_class_incremental", "finetune", 2, {}),
    "joint": Variant("cumulative", "joint", 2, {}),
}


class Outcome(NamedTuple):
    """What one run gave."""

    accuracy: float
    seconds: float  # of training
    waited: float | None  # share of a step


def train(variant: Variant, seed: int, data_dir: str) -> Outcome:
    """One run."""
    setting = get_setting(variant.setting)(
        dataset="fashion_mnist",
        data_dir=data_dir,
        passes=1,
        seed=seed,
        workers=variant.workers,
        batch_size=64 // variant.workers,
    )
    method = get_method(variant.method)(model="mlp", **variant.options)
    results = setting.apply(method, quiet=True, accelerator="cpu", threads=1)
    cost = results.cost
    waited = cost.rehearsal and cost.rehearsal["wait_ms"] / cost.rehearsal["step_ms"]
    return Outcome(results.objective, cost.training_samples / cost.samples_per_s, waited)


def verdicts(accuracy: dict[str, float], times: dict[str, float]) -> list[str]:
    """The bars, and whether they are reached."""
    relative = accuracy["async_rehearsal"] / accuracy["rehearsal, one process"]
    closed = (accuracy["async_rehearsal"] - accuracy["finetune"]) / (accuracy["joint"] - accuracy["finetune"])
    longer = times["async_rehearsal"]
    bars = [
        ("accuracy / rehearsal in one process", relative, 0.99, relative >= 0.99),
        ("share of the gap from finetune to joint that is closed", closed, 0.8, closed >= 0.8),
        ("training time / finetune's (median over seeds)", longer, 1.3, longer <= 1.3),
    ]
    return [f"{what}: {value:.3f}; bar {bar}: {'reached' if ok else 'missed'}." for what, value, bar, ok in bars]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    use_one_thread()
    runs: dict[str, list[Outcome]] = {name: [] for name in VARIANTS}
    for seed in range(options.seeds):
        for name, variant in VARIANTS.items():
            runs[name].append(train(variant, seed, options.data_dir))
            print(seed, name, runs[name][-1], flush=True)
    accuracy = {name: mean(run.accuracy for run in of) for name, of in runs.items()}
    # Runs of one seed follow each other: ratios within it, so that a slow hour of the machine drops out.
    times = {
        name: median(run.seconds / base.seconds for run, base in zip(of, runs["finetune"], strict=True))
        for name, of in runs.items()
    }
    rows = [
        {
            "method": name,
            "workers": VARIANTS[name].workers,
            "average accuracy": f"{accuracy[name]:.3f} +- {stdev(run.accuracy for run in of):.3f}",
            "training time / finetune's": f"{times[name]:.2f}",
            "waited for replay": "" if of[0].waited is None else f"{mean(run.waited or 0 for run in of):.1%}",
        }
        for name, of in runs.items()
    ]
    judged = verdicts(accuracy, times)
    content = {**environment(), "runs": {name: [run._asdict() for run in of] for name, of in runs.items()}}
    write("distributed_accuracy", content | {"verdicts": judged}, "\n\n".join([markdown_table(rows), *judged]))


if __name__ == "__main__":
    main()

"""What the training regime does to forgetting (Mirzadeh et al., 2020, experiment 1), on digits.

Domain-incremental, 5 tasks of all ten digits, permuted or rotated by random angles; an MLP of two hidden layers of 100
on pixels in [0, 1], fine-tuned by SGD with momentum 0.8 for 20 passes, 3 seeds. The plastic regime has learning rate
0.01 and batches of 64; the others 0.1 and batches of 16, with and without decay 0.4 per task and dropout 0.25. With
both it is the stable regime, the method `stable_sgd`.

Run: python benchmarks/regimes.py [--seeds 3]. Writes benchmarks/results/regimes.*.
"""

import argparse
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write
from torch import Tensor, nn

from redwood.methods import get_method
from redwood.settings import DomainIncrementalSetting

WIDTH = 100
REGIMES: dict[str, tuple[int, dict[str, float]]] = {
    "plastic": (64, {"lr": 0.01, "dropout": 0.0, "lr_decay": 1.0}),
    "lr 0.1, batch 16": (16, {"dropout": 0.0, "lr_decay": 1.0}),
    "+ dropout": (16, {"lr_decay": 1.0}),
    "+ decay": (16, {"dropout": 0.0}),
    "stable: + decay, dropout": (16, {}),
}
# The bar: what stable has to be above plastic on permuted digits, and what both learn of a task.
ABOVE, LEARNED = 0.10, 0.90


class Outcome(NamedTuple):
    """One run.

    Attributes:
        accuracy: Average accuracy after the last task.
        forgetting: Mean fall of a task's accuracy from its best one.
        learned: Accuracy on each task right after it was trained, averaged.
    """

    accuracy: float
    forgetting: float
    learned: float


class UnitScale(nn.Module):
    """Pixels 0 to 16 become 0 to 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale samples (B, 1, 8, 8)."""
        return x.float() / 16


def network(seed: int) -> nn.Module:
    """The MLP with initial weights of its own."""
    torch.manual_seed(seed)
    layers = [nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)]
    return nn.Sequential(UnitScale(), nn.Flatten(), *layers)


def train(stream: str, regime: str, seed: int) -> Outcome:
    """Train one network under one regime."""
    batch_size, options = REGIMES[regime]
    setting = DomainIncrementalSetting(stream=stream, nb_tasks=5, passes=20, batch_size=batch_size, seed=seed)
    method = get_method("stable_sgd")(model=network(seed), **options)  # type: ignore[call-arg]
    results = setting.apply(method, **RUN_OPTIONS)
    learned = mean(row[task] for task, row in enumerate(results.accuracy_matrix))
    return Outcome(results.objective, results.metrics["forgetting"] or 0.0, learned)


def cell(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.3f} +- {stdev(values):.3f}"


def rows_of(outcomes: dict[str, list[Outcome]]) -> list[dict[str, Any]]:
    """One row per regime, one column per figure."""
    return [
        {"regime": name} | {figure: cell([getattr(run, figure) for run in runs]) for figure in Outcome._fields}
        for name, runs in outcomes.items()
    ]


def verdict(permuted: dict[str, list[Outcome]]) -> str:
    """Whether the bar is reached."""
    plastic, stable = (permuted[name] for name in ("plastic", "stable: + decay, dropout"))
    above = mean(run.accuracy for run in stable) - mean(run.accuracy for run in plastic)
    learned = [mean(run.learned for run in runs) for runs in (plastic, stable)]
    reached = above >= ABOVE and min(learned) >= LEARNED
    return (
        f"Permuted: stable is {above:.3f} above plastic (bar: {ABOVE}); plastic learns {learned[0]:.3f} of a task, "
        f"stable {learned[1]:.3f} (bar: {LEARNED}): {'reached' if reached else 'missed'}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    use_one_thread()
    outcomes: dict[str, dict[str, list[Outcome]]] = {}
    for stream in ("permuted", "rotated"):
        outcomes[stream] = {}
        for regime in REGIMES:
            outcomes[stream][regime] = [train(stream, regime, seed) for seed in seeds]
            print(stream, rows_of({regime: outcomes[stream][regime]})[0], flush=True)
    judged = verdict(outcomes["permuted"])
    text = [f"{stream.capitalize()} digits:\n\n{markdown_table(rows_of(runs))}" for stream, runs in outcomes.items()]
    raw = {
        stream: {name: [run._asdict() for run in runs] for name, runs in regimes.items()}
        for stream, regimes in outcomes.items()
    }
    write("regimes", {**environment(), "runs": raw, "verdict": judged}, "\n\n".join([*text, judged]))


if __name__ == "__main__":
    main()

"""Without stored samples: a generator in their place, and an adapter that grows.

Checks:

- `rehearsal`: `generative_rehearsal` against fine-tuning and against small buffers, on digits, 5 seeds.
- `adapter`: `c_ada` on digits, 5 seeds. The feature extractor is trained on five classes, the other five come later.
- `picture`: generated digits beside real ones, and the accuracy over the tasks, `results/generative.png`.

Run: python benchmarks/generative.py [--only rehearsal adapter picture] [--seeds 5].
Writes benchmarks/results/generative.*; what is not run keeps its earlier figures.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write
from torch import Tensor

from redwood.branches.generative.generative_rehearsal import GenerativeRehearsal
from redwood.branches.growing.c_ada import CAda
from redwood.methods import Finetune, Fixed, LwF, Method, Rehearsal
from redwood.settings import ClassIncrementalSetting, ClassSplit, get_setting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.scores.results import Results
from redwood.settings.streams.phase import Phase

Found = dict[str, Any]
Make = Callable[[], Method]


def shown(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    return f"{100 * mean(values):.1f} +- {100 * stdev(values):.1f}" if len(values) > 1 else f"{100 * values[0]:.1f}"


def runs(make: Make, seeds: int, setting: str, **options: Any) -> list[Results]:
    """One run for each seed."""
    return [get_setting(setting)(seed=seed, **options).apply(make(), **RUN_OPTIONS) for seed in range(seeds)]


REHEARSAL: dict[str, Make] = {
    "finetune": Finetune,
    "lwf": LwF,
    "rehearsal, 20 samples": partial(Rehearsal, buffer_size=20),
    "rehearsal, 50 samples": partial(Rehearsal, buffer_size=50),
    "rehearsal, 200 samples": partial(Rehearsal, buffer_size=200),
    "generative_rehearsal": GenerativeRehearsal,
}


def rehearsal(seeds: int) -> Found:
    """A generator against fine-tuning and buffers."""
    return {"rows": [compared(name, runs(make, seeds, "class_incremental")) for name, make in REHEARSAL.items()]}


def compared(name: str, found: list[Results]) -> dict[str, Any]:
    """One row of the table."""
    row = {
        "method": name,
        "accuracy %": shown([results.objective for results in found]),
        "forgetting %": f"{100 * mean(results.metrics['forgetting'] or 0.0 for results in found):.1f}",
        "kept beside the network, kB": round(found[0].cost.buffer_bytes / 1e3),
        "training GFLOP": round(found[0].cost.training_flops / 1e9, 1),
    }
    print(row, flush=True)
    return row


class Watched(CAda):
    """Notes what each column answers after each phase, on all test samples."""

    def configure(self, setting: Any) -> None:
        """Start with empty notes."""
        super().configure(setting)
        self.samples = load_dataset("digits", Path(), seed=0, image_size=0).x_test
        self.answers: list[list[Tensor]] = []

    def fit(self, phase: Phase) -> None:
        """Train, and note."""
        super().fit(phase)
        self.network.eval()
        with torch.no_grad():
            scores = self.network(self.samples)
        columns = [self.adapted.trained.nonzero()[:, 0], *(column.classes for column in self.adapted.columns)]
        self.answers.append([scores[:, classes] for classes in columns])
        self.network.train()

    def change(self) -> float:
        """The largest change of an old column's answer, over all samples and phases."""
        changes = [
            float((then - now).abs().max())
            for earlier in self.answers[:-1]
            for then, now in zip(earlier, self.answers[-1], strict=False)
        ]
        return max(changes)


ADAPTER: dict[str, Make] = {
    "finetune": Finetune,
    "fixed": Fixed,
    "c_ada": Watched,
    "without orthogonality": partial(Watched, orthogonality=0.0),
    "cosine_scale 5": partial(Watched, cosine_scale=5.0),
    "64 units a column": partial(Watched, column_width=64),
}


def adapter(seeds: int) -> Found:
    """Columns for the other half of the classes."""
    rows = []
    for increment in ([5, 1, 1, 1, 1, 1], [5, 2, 3]):
        for name, make in ADAPTER.items():
            found, changes = [], []
            for seed in range(seeds):
                method = make()
                found.append(
                    ClassIncrementalSetting(stream=ClassSplit(increment=increment), seed=seed).apply(
                        method, **RUN_OPTIONS
                    )
                )
                changes += [method.change()] if isinstance(method, Watched) else []
            final = [[value or 0.0 for value in results.accuracy_matrix[-1]] for results in found]
            later = increment[1:]
            rows.append(
                {
                    "classes of each task": str(increment),
                    "method": name,
                    "first task %": shown([row[0] for row in final]),
                    "classes of later tasks %": shown([by_class(row[1:], later) for row in final]),
                    "all classes %": shown([by_class(row, increment) for row in final]),
                    "largest change of an old answer": max(changes) if changes else None,
                    "parameters": found[0].cost.parameters,
                    "training GFLOP": round(found[0].cost.training_flops / 1e9, 1),
                }
            )
            print(rows[-1], flush=True)
    return {"rows": rows}


def by_class(accuracies: Sequence[float], increment: Sequence[int]) -> float:
    """The mean over tasks, weighted by their numbers of classes."""
    return sum(value * n for value, n in zip(accuracies, increment, strict=True)) / sum(increment)


SHOWN = {"finetune": "tab:gray", "rehearsal, 50 samples": "tab:orange", "generative_rehearsal": "tab:blue"}


def picture(seeds: int) -> Found:
    """Generated digits beside real ones, and the average accuracy after each task."""
    import matplotlib.pyplot as plt

    data = load_dataset("digits", Path(), seed=0, image_size=0)
    method = GenerativeRehearsal()
    ClassIncrementalSetting().apply(method, **RUN_OPTIONS)
    labels = torch.arange(10).repeat(4)
    tasks = method.shown.argmax(0)[labels]
    generated = method.old_generator(method.conditions(labels, tasks))
    real = torch.stack([data.x[data.y == label][number] for number in range(4) for label in range(10)])
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), width_ratios=[1.3, 1.3, 1], layout="constrained")
    for axis, images, title in ((axes[0], real, "digits"), (axes[1], generated, "generated after the last task")):
        grid = images[:, 0].reshape(4, 10, 8, 8).permute(0, 2, 1, 3).reshape(32, 80)
        axis.imshow(grid, cmap="gray_r", interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    for name, colour in SHOWN.items():
        found = runs(REHEARSAL[name], seeds, "class_incremental")
        curves = [
            [100 * mean(value or 0.0 for value in row[: task + 1]) for task, row in enumerate(results.accuracy_matrix)]
            for results in found
        ]
        for curve in curves:
            axes[2].plot(range(1, 6), curve, color=colour, alpha=0.3, linewidth=0.8)
        axes[2].plot(range(1, 6), [mean(values) for values in zip(*curves, strict=True)], color=colour, label=name)
    axes[2].set_xlabel("tasks learned", fontsize=8)
    axes[2].set_ylabel("accuracy on them, %", fontsize=8)
    axes[2].tick_params(labelsize=7)
    axes[2].legend(fontsize=7)
    figure.savefig(RESULTS / "generative.png", dpi=110)
    plt.close(figure)
    return {"seeds": seeds}


def report(found: Found) -> str:
    """The results as a page."""
    lines = ["# Without stored samples", ""]
    if "rehearsal" in found:
        lines += ["## Generative rehearsal", "", markdown_table(found["rehearsal"]["rows"]), ""]
    if "adapter" in found:
        lines += ["## An adapter that grows", "", markdown_table(found["adapter"]["rows"]), ""]
    if "picture" in found:
        lines += ["![generated digits, and accuracy over the tasks](generative.png)", ""]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Run the checks that were asked for, and write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("rehearsal", "adapter", "picture")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    use_one_thread()
    earlier = RESULTS / "generative.json"
    found: Found = json.loads(earlier.read_text()) if earlier.exists() else {}
    checks: dict[str, Callable[[], Found]] = {
        "rehearsal": partial(rehearsal, chosen.seeds),
        "adapter": partial(adapter, chosen.seeds),
        "picture": partial(picture, chosen.seeds),
    }
    for name in chosen.only:
        found[name] = checks[name]()
        found |= environment()
        write("generative", found, report(found))


if __name__ == "__main__":
    main()

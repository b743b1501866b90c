"""What two options of a recipe cost and give: transforms drawn for each image, and phases that end early.

- `transforms`: processor time of a batch of 64 images. Torchvision's transforms are drawn once for the batch, or for
  each image (`--augmentation`). Beside them: redwood's own `crop_flip`, and a training step of `slim_resnet18`.
- `patience`: class-incremental digits, 5 tasks, 5 seeds, a fifth of the samples held out: 40 passes over each task
  against `--patience 3`; and all classes at once.

Run: OMP_NUM_THREADS=1 python benchmarks/recipes.py [--only transforms patience].
Writes benchmarks/results/recipes.*; what is not run keeps its earlier figures.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, median, stdev
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, Seconds, environment, markdown_table, take_turns, write
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from redwood.methods.baselines import Finetune
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks import build_network
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.methods.training.augmentations import make_augmentation
from redwood.settings import ClassIncrementalSetting, TraditionalSetting
from redwood.settings.results import Results
from redwood.settings.supervised import SupervisedSetting

PARTS = ("transforms", "patience")
BATCH, ROUNDS, SEEDS, PASSES = 64, 7, 5, 40
SHAPES = ((1, 28, 28), (3, 32, 32), (3, 224, 224))
CLASSES = partial(ClassIncrementalSetting, nb_tasks=5)
CASES: dict[str, tuple[Callable[..., SupervisedSetting], Callable[..., LightningMethod]]] = {
    "finetune": (CLASSES, Finetune),
    "rehearsal": (CLASSES, partial(Rehearsal, buffer_size=100)),
    "ewc": (CLASSES, EWC),
    "finetune, all classes at once": (TraditionalSetting, Finetune),
}

Found = dict[str, Any]


def transforms(size: int) -> dict[str, nn.Module | str]:
    """Augmentations of images of a size, by a short name."""
    crop = [v2.RandomCrop(size, padding=size // 8), v2.RandomHorizontalFlip()]
    return {
        "crop_flip": "crop_flip",
        "RandomCrop + RandomHorizontalFlip": v2.Compose(crop),
        "the same + ColorJitter": v2.Compose([*crop, v2.ColorJitter(0.4, 0.4, 0.4)]),
        "RandAugment": v2.RandAugment(),
    }


def cpu_ms(function: Callable[[], object], times: int) -> float:
    """Processor milliseconds of a call."""
    start = Seconds.now()
    for _ in range(times):
        function()
    return 1000 * Seconds.now().since(start).cpu / times


def training_step(x: Tensor, space: Box) -> Callable[[], None]:
    """Forward and backward pass of a small residual network on a batch (B, C, H, W)."""
    network, y = build_network("slim_resnet18", space, 10), torch.arange(len(x)) % 10

    def step() -> None:
        loss: Tensor = F.cross_entropy(network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]

    return step


def price() -> list[Found]:
    """Milliseconds of a batch, for each shape and augmentation."""
    rows: list[Found] = []
    for shape in SHAPES:
        space, times = Box(0, 255, shape, np.uint8), 1 if shape[1] > 100 else 5
        x = torch.randint(0, 256, (BATCH, *shape), dtype=torch.uint8)
        step = median(take_turns({"step": partial(cpu_ms, training_step(x, space), 1)}, 3)["step"])
        for name, transform in transforms(shape[1]).items():
            changes = {"each": make_augmentation(transform, space)}
            if isinstance(transform, nn.Module):
                changes["once"] = transform
            variants = {key: partial(cpu_ms, partial(change, x), times) for key, change in changes.items()}
            found = {key: median(values) for key, values in take_turns(variants, ROUNDS).items()}
            rows.append(
                {
                    "images": "x".join(map(str, shape)),
                    "augmentation": name,
                    "drawn for each image, ms": found["each"],
                    "drawn once for the batch, ms": found.get("once"),
                    "share of a training step": found["each"] / step,
                }
            )
    return rows


def early_ends(cases: Sequence[str] = tuple(CASES)) -> list[Found]:
    """Accuracy, passes and FLOPs, with and without `--patience`."""
    rows: list[Found] = []
    for name in cases:
        setting, method = CASES[name]
        whole, short = ([run(setting, method(patience=p), seed) for seed in range(SEEDS)] for p in (0, 3))
        for patience, runs in (("none", whole), ("3", short)):
            accuracies = [100 * one.metrics["average_accuracy"] for one in runs]
            shares = [a.cost.training_samples / b.cost.training_samples for a, b in zip(runs, whole, strict=True)]
            rows.append(
                {
                    "method": name,
                    "patience": patience,
                    "average accuracy, %": f"{mean(accuracies):.1f} +- {stdev(accuracies):.1f}",
                    "passes over a task": PASSES * mean(shares),
                    "training GFLOPs": mean(one.cost.training_flops for one in runs) / 1e9,
                }
            )
    return rows


def run(setting: Callable[..., SupervisedSetting], method: LightningMethod, seed: int) -> Results:
    """One run on digits."""
    return setting(dataset="digits", passes=PASSES, validation=0.2, seed=seed).apply(method, **RUN_OPTIONS)


def picture(rows: Sequence[Found]) -> None:
    """Bars: a batch of colour images of 32 x 32 pixels."""
    rows = [row for row in rows if row["images"] == "3x32x32"][::-1]
    figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
    places = np.arange(len(rows))
    for key, offset, colour in (("for each image", 0.19, "#2a6f97"), ("once for the batch", -0.19, "#a9d6e5")):
        values = [row[f"drawn {key}, ms"] or 0.0 for row in rows]
        bars = axes.barh(places + offset, values, 0.36, color=colour, label=f"drawn {key}")
        axes.bar_label(bars, [f"{value:.1f}" if value else "" for value in values], padding=3, fontsize=8)
    axes.set_yticks(places, [row["augmentation"] for row in rows])
    axes.set_xlabel(f"processor ms for {BATCH} images of 3 x 32 x 32")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper right")
    figure.savefig(RESULTS / "recipes.png", dpi=110)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    chosen = parser.parse_args().only
    use_one_thread()
    file = RESULTS / "recipes.json"
    found: Found = json.loads(file.read_text()) if file.exists() else {}
    for name, measure in (("transforms", price), ("patience", early_ends)):
        if name in chosen:
            found[name] = measure()
    picture(found["transforms"])
    text = "\n\n".join(markdown_table(found[name]) for name in PARTS if name in found)
    write("recipes", found | {"environment": environment()}, text)


if __name__ == "__main__":
    main()

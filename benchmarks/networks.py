"""A network that was trained on other classes, of which a part is trained on: all, the last block, adapters, the head.

The network is timm's `test_resnet` (370,000 parameters) at 32 x 32 pixels. It is trained on five classes of
Fashion-MNIST by plain PyTorch, and its state dict is saved. `rehearsal` (200 samples) then learns the other five
classes in four tasks (2, 1, 1 and 1 classes, 200 samples of each, 5 passes) with `--weights`, in part or as a whole,
and from random weights.

Run: python benchmarks/networks.py --data_dir DIR [--seeds 5]. Writes benchmarks/results/networks.*.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import environment, load_images, markdown_table, write
from torch.nn import functional as F

from redwood.methods.networks import build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ClassIncrementalSetting
from redwood.settings.data.dataset import Dataset

MODEL, SIDE, FIRST, EACH = "timm:test_resnet", 32, 5, 200
PASSES, BATCH, LR = 4, 32, 0.002
VARIANTS = {
    "random weights, all": ("", "all"),
    "weights, all": ("weights", "all"),
    "weights, last block": ("weights", "last_block"),
    "weights, lora:r=8": ("weights", "lora:r=8"),
    "weights, head": ("weights", "head"),
}


def part(data: Dataset, first: int, each: int, each_test: int) -> Dataset:
    """The five classes from `first` on as classes 0 to 4, with so many samples of each."""
    rows, tests = (
        torch.cat([(y == label).nonzero()[:n, 0] for label in range(first, first + FIRST)])
        for y, n in ((data.y, each), (data.y_test, each_test))
    )
    return replace(
        data,
        x=data.x[rows],
        y=data.y[rows] - first,
        x_test=data.x_test[tests],
        y_test=data.y_test[tests] - first,
        class_names=(),
    )


def train_first(data: Dataset, path: Path) -> float:
    """Train a network on the first classes, save its state dict, and return its accuracy on their test samples."""
    torch.manual_seed(0)
    space = ClassIncrementalSetting(dataset=data, increment=[2, 1, 1, 1]).observation_space
    network: Any = build_network(MODEL, space, FIRST, AsPublished(side=SIDE))
    optimizer = torch.optim.Adam(network.parameters(), LR)
    for _ in range(PASSES):
        for rows in torch.randperm(len(data.y)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(data.x[rows]), data.y[rows]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = torch.cat([network(x).argmax(1) for x in data.x_test.split(500)]) == data.y_test
    # Without the head: it tells other classes apart, and would be loaded, since there are as many.
    torch.save({key: value for key, value in network.model.state_dict().items() if not key.startswith("fc.")}, path)
    return float(right.float().mean())


def run(data: Dataset, weights: str, trainable: str, seed: int) -> dict[str, float]:
    """One run on the other classes."""
    setting = ClassIncrementalSetting(dataset=data, increment=[2, 1, 1, 1], passes=5, batch_size=16, seed=seed)
    method = Rehearsal(
        model=MODEL, weights=weights, input_size=SIDE, trainable=trainable, buffer_size=200, optimizer="adam", lr=LR
    )
    results = setting.apply(method, **RUN_OPTIONS)
    trained = sum(p.numel() for p in method.network.parameters() if p.requires_grad)
    return {
        "accuracy": results.metrics["average_accuracy"],
        "trained": trained,
        "parameters": results.cost.parameters,
        "flops": results.cost.training_flops,
    }


def measure(data_dir: str, seeds: int) -> dict[str, Any]:
    """The accuracy on the first classes, and the runs of all variants on the others."""
    data = load_images(data_dir)
    first, rest = part(data, 0, 1000, 200), part(data, FIRST, EACH, 200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        found: dict[str, Any] = {"first classes": train_first(first, path), "runs": {}}
        for name, (weights, trainable) in VARIANTS.items():
            found["runs"][name] = [run(rest, str(path) if weights else "", trainable, seed) for seed in range(seeds)]
            print(name, [round(one["accuracy"], 3) for one in found["runs"][name]], flush=True)
    return found


def report(found: dict[str, Any]) -> str:
    """The runs as a table."""
    rows = []
    for name, runs in found["runs"].items():
        accuracy = [100 * one["accuracy"] for one in runs]
        rows.append(
            {
                "what is trained": name,
                "average accuracy (%)": f"{mean(accuracy):.1f} ± {stdev(accuracy) if len(accuracy) > 1 else 0:.1f}",
                "trained": f"{runs[0]['trained']:,}",
                "parameters": f"{runs[0]['parameters']:,}",
                "training TFLOPs": f"{mean(one['flops'] for one in runs) / 1e12:.3f}",
            }
        )
    n_seeds = len(next(iter(found["runs"].values())))
    return (
        "# A network that was trained on other classes\n\n"
        f"On the first five classes of Fashion-MNIST it answers {100 * found['first classes']:.1f} % of the test "
        f"samples right. The other five classes, {n_seeds} seeds, mean and standard deviation:\n\n"
        f"{markdown_table(rows)}"
    )


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    found = environment() | measure(options.data_dir, options.seeds)
    write("networks", found, report(found))


if __name__ == "__main__":
    main()

"""`--predict` beside a bare torch loop, on the 60,000 training images of Fashion-MNIST in batches of 512.

Two pairs for each network, which take turns, on one thread:

- `scores`: `TrainedModel.scores` beside a loop over the network that joins its outputs;
- `table`: what `--predict` does once the model is loaded and the images are read: a file with class and probability of
  each image, beside a loop that writes the same file with `csv`.

Run: python benchmarks/predict.py --data_dir data [--networks mlp simple_cnn] [--rounds 5].
Writes benchmarks/results/predict.*.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from clocked import use_one_thread
from common import Seconds, environment, load_images, markdown_table, median_ratio, take_turns, write
from torch import Tensor, nn

import redwood
from redwood.experiments.trained.model import BATCH, TrainedModel
from redwood.experiments.trained.predict import predict_to_file
from redwood.experiments.trained.samples import NewSamples
from redwood.methods.baselines import Finetune
from redwood.settings import TraditionalSetting
from redwood.settings.data.dataset import Dataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--networks", nargs="+", default=["mlp", "simple_cnn"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    data = load_images(options.data_dir)
    rows = [row for network in options.networks for row in compare(network, data, options.rounds)]
    content = environment() | {"data": data.name, "images": len(data.x), "batch": BATCH, "rows": rows}
    text = f"{data.name}: {len(data.x):,} images, batches of {BATCH}; medians of {options.rounds} rounds.\n\n"
    write("predict", content, text + markdown_table(rows))


def compare(network: str, data: Dataset, rounds: int) -> list[dict[str, Any]]:
    """Times of one network: a row for the scores, and one for the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = trained(network, data, Path(folder) / "run")
        x = data.x[torch.arange(len(data.x))]
        variants = {
            "scores": partial(model.scores, x),
            "scores, bare": partial(bare_scores, model.method.network, x),
            "table": partial(predict_to_file, model, NewSamples(x), Path(folder) / "own.csv"),
            "table, bare": partial(bare_table, model.method.network, x, Path(folder) / "bare.csv"),
        }
        times = take_turns({name: partial(timed, variant) for name, variant in variants.items()}, rounds)
        assert (Path(folder) / "own.csv").read_bytes() == (Path(folder) / "bare.csv").read_bytes()
    return [row_of(network, what, times[what], times[f"{what}, bare"]) for what in ("scores", "table")]


def trained(network: str, data: Dataset, folder: Path) -> TrainedModel:
    """A run on a few of the images; how well it predicts does not matter here."""
    few, few_test = torch.arange(2000), torch.arange(200)
    part = Dataset(data.name, data.x[few], data.y[few], data.x_test[few_test], data.y_test[few_test], max_value=255)
    setting = TraditionalSetting(dataset=part, passes=1)
    setting.apply(Finetune(model=network), run_dir=str(folder), quiet=True, accelerator="cpu")
    return redwood.load(folder, device="cpu")


@torch.no_grad()
def bare_scores(network: nn.Module, x: Tensor) -> Tensor:
    network.eval()
    return torch.cat([network(x[start : start + BATCH]) for start in range(0, len(x), BATCH)])


@torch.no_grad()
def bare_table(network: nn.Module, x: Tensor, path: Path) -> None:
    network.eval()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "class", "probability"])
        for start in range(0, len(x), BATCH):
            best, classes = network(x[start : start + BATCH]).softmax(1).max(1)
            for number, (label, value) in enumerate(zip(classes.tolist(), best.tolist(), strict=True), start):
                writer.writerow([number, str(label), f"{value:.6g}"])


def timed(variant: Callable[[], object]) -> Seconds:
    start = Seconds.now()
    variant()
    return Seconds.now().since(start)


def row_of(network: str, what: str, own: list[Seconds], bare: list[Seconds]) -> dict[str, Any]:
    return {
        "network": network,
        "what": what,
        "redwood, s": median(time.wall for time in own),
        "bare, s": median(time.wall for time in bare),
        "speed of the bare loop, wall": median_ratio([time.wall for time in bare], [time.wall for time in own]),
        "speed of the bare loop, processor": median_ratio([time.cpu for time in bare], [time.cpu for time in own]),
    }


if __name__ == "__main__":
    main()

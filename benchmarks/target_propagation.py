"""Does target propagation learn to backpropagate? Angles over feedback steps, and accuracy and time against it.

Angles: a network that stands still (mlp on digits, ReLU; and 64-128-64-10 with ELU, as in the paper), its feedback
modules trained with batches of 128, noise of 0.1 and a learning rate of 0.01. Accuracy: digits `traditional`, default
options but for those named, 3 seeds. Target propagation makes steps of lr * dtp_beta = 0.035, so backpropagation is run
with that learning rate, too.

Run: python benchmarks/target_propagation.py. Writes benchmarks/results/target_propagation.*.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import mean, median, stdev
from typing import Any

import torch
from clocked import RUN_OPTIONS, use_one_thread
from common import Seconds, environment, markdown_table, write
from torch import Tensor, nn

from redwood.branches.target_propagation.dtp import DTP
from redwood.engine.run import Run
from redwood.methods.baselines import Finetune
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks import Scale
from redwood.methods.training.step import Step
from redwood.settings.batch import Batch
from redwood.settings.tree import TraditionalSetting

BATCH, SEEDS = 128, 3
MARKS = (0, 50, 250, 1250, 4250)
# The bars: degrees in all layers after the last of these, and accuracy.
DEGREES, ACCURACY = 5, 0.94


def elu_network() -> nn.Sequential:
    """64-128-64-10."""
    space = TraditionalSetting().for_method().observation_space
    layers = [nn.Linear(64, 128), nn.ELU(), nn.Linear(128, 64), nn.ELU(), nn.Linear(64, 10)]
    return nn.Sequential(Scale(space), nn.Flatten(), *layers)


def step_of(batch: Batch) -> Step:
    """A training step on one batch."""
    return Step(incoming=batch, on_host=batch, first_pass=False, batch=batch)


def gradients(method: DTP, loss: Tensor) -> list[Tensor]:
    """The gradient of a loss by the weights of each layer, biases left out."""
    weights = [p for p in method.network.parameters() if p.dim() > 1]
    return [gradient.flatten() for gradient in torch.autograd.grad(loss, weights)]


def angles(method: DTP, batch: Batch) -> list[float]:
    """Degrees between the update of each layer and that of backpropagation."""
    steps, method.feedback_steps = method.feedback_steps, 0
    own = gradients(method, method.loss(step_of(batch)))
    exact = gradients(method, LightningMethod.loss(method, step_of(batch)))
    method.feedback_steps = steps
    cosines = [torch.cosine_similarity(a, b, dim=0).clamp(-1, 1) for a, b in zip(own, exact, strict=True)]
    return [float(cosine.acos().rad2deg()) for cosine in cosines]


def alignment(model: Any) -> list[dict[str, Any]]:
    """The angles after so many feedback steps, layer by layer."""
    method = DTP(model=model, feedback_steps=50, feedback_noise=0.1, feedback_lr=0.01)
    method.attach(Run(accelerator="cpu", quiet=True))
    setting = TraditionalSetting()
    method.configure(setting.for_method())
    batches = batches_of(setting, torch.Generator().manual_seed(0))
    test, done, rows = next(batches), 0, []
    for mark in MARKS:
        while done < mark:
            method.loss(step_of(next(batches)))
            done += method.feedback_steps
        rows.append({"steps": done} | {f"layer {n}": angle for n, angle in enumerate(angles(method, test), 1)})
        print(rows[-1], flush=True)
    return rows


def batches_of(setting: TraditionalSetting, random: torch.Generator) -> Iterator[Batch]:
    """Endless batches of random training samples."""
    parts = list(next(iter(setting.phases())).train)
    x, y = torch.cat([batch.x for batch in parts]), torch.cat([batch.y for batch in parts])
    while True:
        rows = torch.randint(len(y), (BATCH,), generator=random)
        yield Batch(x[rows], y[rows], None)


def train(method: LightningMethod, seed: int) -> dict[str, float]:
    """One run: accuracy, CPU seconds, FLOPs."""
    start = Seconds.now()
    results = TraditionalSetting(seed=seed).apply(method, **RUN_OPTIONS)
    spent = Seconds.now().since(start)
    return {"accuracy": results.objective, "cpu": spent.cpu, "gflop": results.cost.training_flops / 1e9}


def compare() -> tuple[list[dict[str, Any]], dict[str, list[dict[str, float]]]]:
    """Runs that take turns, seed by seed."""
    methods: dict[str, Callable[[], LightningMethod]] = {
        "finetune (backpropagation)": Finetune,
        "finetune, its lr that of dtp's steps": partial(Finetune, lr=0.05 * 0.7),
        "dtp": partial(DTP, feedback_steps=5, feedback_lr=0.03),
        "dtp, feedback modules left random": partial(DTP, feedback_steps=0),
    }
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for seed in range(SEEDS):
        for name, method in methods.items():
            raw[name].append(train(method(), seed))
            print(name, raw[name][-1], flush=True)
    return [row_of(name, outcomes) for name, outcomes in raw.items()], raw


def row_of(name: str, outcomes: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean accuracy, and medians of what it took."""
    accuracies = [one["accuracy"] for one in outcomes]
    return {
        "method": name,
        "accuracy": f"{mean(accuracies):.3f} +- {stdev(accuracies):.3f}",
        "CPU s": f"{median(one['cpu'] for one in outcomes):.1f}",
        "training GFLOP": f"{median(one['gflop'] for one in outcomes):.1f}",
    }


def verdicts(aligned: dict[str, list[dict[str, Any]]], raw: dict[str, list[dict[str, float]]]) -> list[str]:
    """The bars, and whether they are reached."""
    lines = []
    for title, rows in aligned.items():
        worst = max(angle for name, angle in rows[-1].items() if name != "steps")
        reached = "reached" if worst < DEGREES else "missed"
        lines.append(f"{title}: at most {worst:.1f} degrees after {MARKS[-1]} steps; bar: {DEGREES}: {reached}.")
    accuracy = mean(one["accuracy"] for one in raw["dtp"])
    reached = "reached" if accuracy >= ACCURACY else "missed"
    return [*lines, f"dtp: {accuracy:.3f}; bar: {ACCURACY}: {reached}."]


def main() -> None:
    use_one_thread()
    torch.manual_seed(0)
    aligned = {"mlp, ReLU": alignment("mlp"), "64-128-64-10, ELU": alignment(elu_network())}
    rows, raw = compare()
    text = [
        f"{title}: degrees between the update of a layer and that of backpropagation:\n\n{markdown_table(table)}"
        for title, table in aligned.items()
    ]
    judged = verdicts(aligned, raw)
    text += [f"Digits `traditional`, {SEEDS} seeds:", markdown_table(rows), *judged]
    content = {**environment(), "angles": aligned, "runs": raw, "verdicts": judged}
    write("target_propagation", content, "\n\n".join(text))


if __name__ == "__main__":
    main()

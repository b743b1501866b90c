"""Hard mixtures of experts against a single expert, with a gate that goes by pixels and one by trained features.

Digits, all at once, experts with three hidden units, so that one of them cannot tell ten classes apart (the regime in
which Gross et al., 2017, gain). Average accuracy over 3 seeds at default options but for those in the table.

Run: python benchmarks/mixture.py. Writes benchmarks/results/mixture.*.
"""

from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write
from torch import Tensor, nn

from redwood.branches.modular.hard_moe import HardMoE
from redwood.methods import Finetune
from redwood.settings import get_setting

SEEDS = range(10, 13)
ACTIVATIONS = ("tanh", "relu")
VARIANTS: dict[str, dict[str, Any]] = {
    "8 experts, gate by pixels (default)": {},
    "8 experts, gate by trained features": {"backbone": "trained"},
    "8 experts, one prototype each": {"prototypes": 1},
    "16 experts, gate by pixels": {"experts": 16},
}


class Tiny(nn.Sequential):
    """64 pixels in [0, 16], three hidden units, ten scores."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 3), activation(), nn.Linear(3, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10) of images (B, 1, 8, 8)."""
        scores: Tensor = super().forward(x.float() / 8 - 1)
        return scores


def tanh_expert() -> nn.Module:
    """An expert whose weights are drawn from torch's global generator: each starts from its own."""
    return Tiny(nn.Tanh)


def relu_expert() -> nn.Module:
    """Such an expert with rectified units."""
    return Tiny(nn.ReLU)


def accuracies(activation: str, options: dict[str, Any] | None) -> list[float]:
    """Of a mixture with these options, or of a single expert (None), by seed."""
    model = f"{__file__}:{activation}_expert"
    values = []
    for seed in SEEDS:
        method = Finetune(model=model) if options is None else HardMoE(model=model, **options)
        values.append(get_setting("traditional")(seed=seed).apply(method, **RUN_OPTIONS).objective)
    return values


def main() -> None:
    use_one_thread()
    rows, found = [], {}
    for activation in ACTIVATIONS:
        single = accuracies(activation, None)
        for name, options in {"one expert": None, **VARIANTS}.items():
            values = single if options is None else accuracies(activation, options)
            gain = mean(values) - mean(single)
            found[f"{activation}, {name}"] = values
            rows.append(
                {
                    "hidden units": activation,
                    "network": name,
                    "accuracy": f"{mean(values):.3f} +- {stdev(values):.3f}",
                    "gain": f"{gain:+.3f}",
                }
            )
            print(rows[-1], flush=True)
    write("mixture", {**environment(), "accuracy": found}, markdown_table(rows))


if __name__ == "__main__":
    main()

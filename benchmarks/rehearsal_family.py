"""Average accuracy of all methods that rehearse: digits with buffers of 20 to 200, Fashion-MNIST with one of 500.

Class-incremental, 5 tasks of 2 classes in an order drawn from the seed; default options but for those named.
Digits: 20 passes, 5 seeds. Fashion-MNIST: its 60,000 images in one pass, an MLP, 3 seeds.

Run: python benchmarks/rehearsal_family.py --data_dir DIR. Writes benchmarks/results/rehearsal_family.*.
"""

import argparse
from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import ClassIncrementalSetting, CumulativeSetting

SIZES = (20, 50, 100, 200)
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "rehearsal": ("rehearsal", {}),
    "rehearsal, class-balanced reservoir": ("rehearsal", {"buffer_policy": "class_balanced"}),
    "rehearsal, loss-aware reservoir": ("rehearsal", {"buffer_policy": "loss_aware"}),
    "rehearsal, 4 replayed per sample": ("rehearsal", {"replay_ratio": 4.0}),
    "er_ace": ("er_ace", {}),
    "der": ("der", {}),
    "der_pp": ("der_pp", {"beta": 0.5}),
    "agem": ("agem", {}),
    "mir": ("mir", {}),
    "gdumb": ("gdumb", {}),
    "icarl": ("icarl", {}),
    "icarl, random exemplars": ("icarl", {"buffer_policy": "class_balanced"}),
}


def accuracies(method: str, options: dict[str, Any], seeds: Iterable[int], **setting: Any) -> list[float]:
    """Average accuracy after the last task, for each seed."""
    kind = CumulativeSetting if method == "joint" else ClassIncrementalSetting
    return [kind(seed=seed, **setting).apply(get_method(method)(**options), **RUN_OPTIONS).objective for seed in seeds]


def cell(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.3f} +- {stdev(values):.3f}"


def on_digits(seeds: range) -> tuple[list[dict[str, Any]], dict[str, dict[int, list[float]]]]:
    """One row per method, one column per size of the buffer."""
    rows, raw = [], {}
    for name, (method, options) in FAMILY.items():
        raw[name] = {size: accuracies(method, {**options, "buffer_size": size}, seeds) for size in SIZES}
        rows.append({"method": name, **{str(size): cell(values) for size, values in raw[name].items()}})
        print(rows[-1], flush=True)
    return rows, raw


def on_fashion_mnist(seeds: range, data_dir: str) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """One row per method."""
    rows, raw = [], {}
    bounds = {"finetune (lower bound)": ("finetune", {}), "joint (upper bound)": ("joint", {})}
    for name, (method, options) in {**FAMILY, **bounds}.items():
        size = {} if name in bounds else {"buffer_size": 500}
        raw[name] = accuracies(
            method, {**options, **size, "model": "mlp"}, seeds, dataset="fashion_mnist", data_dir=data_dir, passes=1
        )
        rows.append({"method": name, "average accuracy": cell(raw[name])})
        print(rows[-1], flush=True)
    return sorted(rows, key=lambda row: row["average accuracy"]), raw


def verdicts(raw: dict[str, dict[int, list[float]]]) -> list[str]:
    """The bars, and whether they are reached."""
    means = {(name, size): mean(values) for name, sizes in raw.items() for size, values in sizes.items()}
    bars = [
        ("icarl with 20", means["icarl", 20], "rehearsal with 20, plus 0.15", means["rehearsal", 20] + 0.15),
        ("der_pp with 50", means["der_pp", 50], "rehearsal with 50", means["rehearsal", 50]),
        ("gdumb with 100", means["gdumb", 100], "0.75", 0.75),
    ]
    return [
        f"{name}: {value:.3f}; bar: {bar} ({least:.3f}): {'reached' if value >= least else 'missed'}."
        for name, value, bar, least in bars
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    options = parser.parse_args()
    use_one_thread()
    digits, digits_raw = on_digits(range(5))
    fashion, fashion_raw = on_fashion_mnist(range(3), options.data_dir)
    judged = verdicts(digits_raw)
    text = [
        "Average accuracy on digits, by the number of samples stored (5 seeds):",
        markdown_table(digits),
        *judged,
        "Average accuracy on Fashion-MNIST, 500 samples stored, one pass (3 seeds):",
        markdown_table(fashion),
    ]
    content = {**environment(), "digits": digits_raw, "fashion_mnist": fashion_raw, "verdicts": judged}
    write("rehearsal_family", content, "\n\n".join(text))


if __name__ == "__main__":
    main()

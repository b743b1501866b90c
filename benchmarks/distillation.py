"""Average accuracy of the methods that learn from the network as earlier tasks left it: lwf, lwf_mc, icarl, bic, wa.

Digits, 5 tasks of 2 classes in an order drawn from the seed, 20 passes, 3 seeds; default options but for the number of
samples stored. Those that bic keeps aside from training are among these. With task ids at test (task-incremental) no
sample is stored.

Run: python benchmarks/distillation.py. Writes benchmarks/results/distillation.*.
"""

from statistics import mean, stdev
from typing import Any

from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write

from redwood.methods import get_method
from redwood.settings import get_setting

SEEDS = range(3)
SIZES = (20, 50, 200)
ASIDE = 20  # samples that bic keeps aside, half of those stored at most
STORING = ("rehearsal", "bic", "wa", "icarl")
STORING_NOTHING = {
    "class_incremental": ("finetune", "lwf", "lwf_mc"),
    "task_incremental": ("finetune", "lwf"),
    "cumulative": ("joint",),
}

# Accuracy by seed, for each row of a table.
Raw = dict[str, list[float]]


def accuracies(setting: str, method: str, **options: Any) -> list[float]:
    """Average accuracy after the last task, for each seed."""
    values = [
        get_setting(setting)(seed=seed).apply(get_method(method)(**options), **RUN_OPTIONS).objective for seed in SEEDS
    ]
    print(setting, method, options, cell(values), flush=True)
    return values


def sizes_of(method: str, stored: int) -> dict[str, int]:
    """Options by which a method stores so many samples in all."""
    if method != "bic":
        return {"buffer_size": stored}
    aside = min(ASIDE, stored // 2)
    return {"buffer_size": stored - aside, "bias_samples": aside}


def cell(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.3f} +- {stdev(values):.3f}"


def verdicts(stored: dict[str, dict[int, list[float]]], free: dict[str, Raw]) -> list[str]:
    """What is expected, and whether it came."""
    least = SIZES[0]
    icarl, rehearsal = (mean(stored[method][least]) for method in ("icarl", "rehearsal"))
    given = {method: mean(values) for method, values in free["class_incremental"].items()}
    told = {method: mean(values) for method, values in free["task_incremental"].items()}
    bars = [
        (f"icarl with {least}", icarl, f"rehearsal with {least}, plus 0.15", rehearsal + 0.15),
        (f"icarl with {least}", icarl, "lwf_mc, plus 0.25", given["lwf_mc"] + 0.25),
        (f"rehearsal with {least}", rehearsal, "lwf_mc", given["lwf_mc"]),
        ("lwf_mc", given["lwf_mc"], "finetune", given["finetune"]),
        ("lwf with task ids", told["lwf"], "finetune with task ids", told["finetune"]),
    ]
    return [
        f"{name}: {value:.3f}; bar: {bar} ({bound:.3f}): {'reached' if value >= bound else 'missed'}."
        for name, value, bar, bound in bars
    ]


def main() -> None:
    use_one_thread()
    free = {
        setting: {method: accuracies(setting, method) for method in methods}
        for setting, methods in STORING_NOTHING.items()
    }
    stored = {
        method: {size: accuracies("class_incremental", method, **sizes_of(method, size)) for size in SIZES}
        for method in STORING
    }
    judged = verdicts(stored, free)
    alone = [
        {"setting": setting, "method": method, "average accuracy": cell(values)}
        for setting, methods in free.items()
        for method, values in methods.items()
    ]
    rows = [
        {"method": method} | {str(size): cell(values) for size, values in sizes.items()}
        for method, sizes in stored.items()
    ]
    text = [
        f"Average accuracy on digits without any sample stored ({len(SEEDS)} seeds):",
        markdown_table(alone),
        "Class-incremental, by the number of samples stored:",
        markdown_table(rows),
        *judged,
    ]
    content = {**environment(), "storing_nothing": free, "storing": stored, "verdicts": judged}
    write("distillation", content, "\n\n".join(text))


if __name__ == "__main__":
    main()

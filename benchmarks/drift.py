"""Prequential error of streaming baselines and of networks on generated streams whose rule drifts.

One pass in batches of 10, default options but for those named; 3 seeds, which draw rules and samples. `static` is a
ridge regression on the first tenth of the stream, `all history` one on all samples so far. The gradual stream fades
from context to context as `--setting continual` does by default, the others switch (`--transition abrupt`).

Run: python benchmarks/drift.py. Writes benchmarks/results/drift.*.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, ClassVar

from clocked import RUN_OPTIONS, use_one_thread
from common import environment, markdown_table, write
from torch import Tensor

from redwood.branches.streaming.just_in_time import JustInTime
from redwood.branches.streaming.moving_window import MovingWindow
from redwood.methods.base import Method
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import ContinualSetting
from redwood.settings.data.drift import CONTEXTS, N_TRAIN

SEEDS = range(3)
# Task, what is compared, the most that `first` may be of `second`.
BARS = (
    ("gradual", "moving window of 60", "static", 0.2),
    ("recurring", "just in time", "moving window of 60", 0.7),
    ("regional", "just in time", "moving window of 60", 0.7),
)


@dataclass
class Static(MovingWindow):
    """A model of the first samples of the stream, which is never fitted again."""

    regression: ClassVar[bool] = True
    window: int = N_TRAIN // 10  # samples that the model is fitted to

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in samples until there are enough."""
        if self.kept() < self.window:
            super().add(x, y)


METHODS: dict[str, Callable[[], Method]] = {
    "static": Static,
    "all history": lambda: MovingWindow(window=N_TRAIN),
    "moving window of 60": lambda: MovingWindow(window=60),
    "just in time": JustInTime,
    "finetune": Finetune,
    "rehearsal": Rehearsal,
}


def online(task: str, kind: str, method: Callable[[], Method], seed: int) -> float:
    """RMSE or accuracy on the predictions made before learning."""
    setting = ContinualSetting(
        seed=seed,
        dataset=f"drift_{task}:{kind}",
        passes=1,
        batch_size=10,
        transition="gradual" if kind == "gradual" else "abrupt",
    )
    results = setting.apply(method(), **RUN_OPTIONS)
    value: float | None = results.metrics[f"online_{results.measure.key}"]
    assert value is not None
    return value


def verdicts(raw: dict[str, dict[str, list[float]]]) -> list[str]:
    """The bars, and whether they are reached in the mean over seeds."""
    lines = []
    for kind, first, second, most in BARS:
        ratio = mean(raw[first][kind]) / mean(raw[second][kind])
        lines.append(
            f"{kind}: {first} has {ratio:.2f} times the RMSE of {second} (bar {most}: "
            f"{'reached' if ratio <= most else 'missed'})."
        )
    return lines


def main() -> None:
    use_one_thread()
    content: dict[str, Any] = environment()
    text = []
    for task, measure in (("regression", "RMSE (noise floor 0.1)"), ("classification", "accuracy")):
        raw: dict[str, dict[str, list[float]]] = {}
        rows = []
        for name, method in METHODS.items():
            raw[name] = {kind: [online(task, kind, method, seed) for seed in SEEDS] for kind in CONTEXTS}
            cells = {kind: f"{mean(values):.3f} +- {stdev(values):.3f}" for kind, values in raw[name].items()}
            rows.append({"method": name, **cells})
            print(task, rows[-1], flush=True)
        text += [f"Online {measure}, {len(SEEDS)} seeds:", markdown_table(rows)]
        content[task] = raw
        if task == "regression":
            content["verdicts"] = verdicts(raw)
    write("drift", content, "\n\n".join([*text, *content["verdicts"]]))


if __name__ == "__main__":
    main()

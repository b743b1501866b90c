"""Redwood's training beside a bare PyTorch loop: an MLP at two batch sizes, a long online stream, a slim ResNet-18.

The bare loop has the same optimizer, the same order of the stream and the same buffer, and replays as many samples.
Times of redwood are those of its whole `fit`, the set-up of each phase included. Of the MLP at two batch sizes,
Lightning's own loop (`lean_loop = False`) is measured, too.

Run: python benchmarks/lean_step.py [--data_dir data] [--rounds 7]. Writes benchmarks/results/lean_step.*.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import bare
import torch
from clocked import RUN_OPTIONS, Clocked, ClockedFinetune, ClockedRehearsal, use_one_thread
from common import Seconds, environment, load_images, markdown_table, median_ratio, random_images, take_turns, write
from torch import Tensor

from redwood.buffers import RehearsalBuffer
from redwood.methods.networks import build_network
from redwood.settings import ClassSplit
from redwood.settings.data.dataset import Dataset
from redwood.settings.tree import OnlineClassIncrementalSetting

BUFFER, NB_TASKS = 500, 5
ONLINE_STEPS, WINDOW = 5_000, 1_000
TESTED = 1_000  # test samples: evaluation is not timed
IMAGES, RESNET_ROUNDS, ONLINE_ROUNDS = 1_600, 3, 3  # of the slim ResNet-18; rounds of the two long cases
# Share of the bare loop's speed that redwood has to reach, by case; and of the first updates' speed, that of the last.
BARS = {
    "finetune, batch 32": 0.80,
    "finetune, batch 256": 0.93,
    "rehearsal, batch 32": 0.85,
    "rehearsal, batch 256": 0.95,
    "rehearsal, batch 32, 5,000 updates": 0.85,
    "finetune, slim_resnet18, batch 32": 0.97,
}
FLAT = 0.95
LIGHTNING = "with Lightning's own loop"


class Timing(NamedTuple):
    """How long a training took, and when each of its steps began (empty if that was not noted)."""

    whole: Seconds
    stamps: list[Seconds]


class Case:
    """One training, by redwood and by hand.

    Attributes:
        name: Key of `BARS`.
        data: What is trained on, in 5 tasks of 2 classes.
    """

    def __init__(self, name: str, data: Dataset, batch_size: int, model: str = "mlp") -> None:
        self.name, self.data, self._batch_size, self._model = name, data, batch_size, model
        self._replays = name.startswith("rehearsal")
        assert isinstance(data.x, Tensor)
        members = [(data.y // (data.n_classes // NB_TASKS) == task).nonzero().view(-1) for task in range(NB_TASKS)]
        self._tasks = [(data.x[rows], data.y[rows]) for rows in members]

    def _setting(self) -> OnlineClassIncrementalSetting:
        order = list(range(self.data.n_classes))
        return OnlineClassIncrementalSetting(
            dataset=self.data, nb_tasks=NB_TASKS, stream=ClassSplit(class_order=order), batch_size=self._batch_size
        )

    def by_hand(self, *, note_steps: bool = False, predict_first: bool = False) -> Timing:
        """Train with the bare loop."""
        network = build_network(self._model, self._setting().observation_space, self.data.n_classes)
        stamps: list[Seconds] | None = [] if note_steps else None
        start = Seconds.now()
        bare.train(
            network,
            self._tasks,
            self._batch_size,
            memory=RehearsalBuffer(BUFFER) if self._replays else None,
            predict_first=predict_first,
            stamps=stamps,
        )
        return Timing(Seconds.now().since(start), stamps or [])

    def by_redwood(self, *, lean: bool = True) -> Timing:
        """Train with redwood."""
        method_class: type[Clocked] = ClockedRehearsal if self._replays else ClockedFinetune
        options: dict[str, Any] = {"buffer_size": BUFFER} if self._replays else {}
        method = method_class(model=self._model, lr=bare.LR, **options).start_clock()
        method.lean_loop = lean  # type: ignore[misc]
        self._setting().apply(method, **RUN_OPTIONS)  # type: ignore[arg-type]
        return Timing(method.fit_time, [stamp for stamps in method.steps for stamp in stamps])


def rates(timings: list[Timing]) -> list[float]:
    """Updates per CPU second in each window of `WINDOW` updates: medians over rounds."""
    stamps = [timing.stamps for timing in timings]
    starts = range(0, len(stamps[0]) - WINDOW + 1, WINDOW)
    last = len(stamps[0]) - 1
    spans = [[one[min(at + WINDOW, last)].since(one[at]) for one in stamps] for at in starts]
    return [(min(at + WINDOW, last) - at) / median(s.cpu for s in span) for at, span in zip(starts, spans, strict=True)]


def compare(
    case: Case, rounds: int, *, both: bool = False, **by_hand: bool
) -> tuple[dict[str, Any], dict[str, list[Timing]]]:
    """Measure a case, with `both` by either training loop: a row of its ratios, and all timings."""
    runs: dict[str, Callable[[], Timing]] = {"bare": partial(case.by_hand, **by_hand), "redwood": case.by_redwood}
    if both:
        runs[LIGHTNING] = partial(case.by_redwood, lean=False)
    timings = take_turns(runs, rounds)
    row: dict[str, Any] = {"case": case.name}
    base = [timing.whole for timing in timings["bare"]]
    n = len(case.data.y)
    row["bare: samples/CPU s"] = n / median(time.cpu for time in base)
    for name in ("redwood", LIGHTNING):
        own = [timing.whole for timing in timings.get(name, [])]
        for clock in Seconds._fields:
            row[f"{name} / bare ({clock})"] = (
                median_ratio([getattr(t, clock) for t in base], [getattr(t, clock) for t in own]) if own else None
            )
    reached = row["redwood / bare (cpu)"] >= BARS[case.name]
    row["bar"] = f"{BARS[case.name]:.2f}: {'reached' if reached else 'missed'}"
    return row, timings


def colour_images(n_train: int) -> Dataset:
    """Random images (n, 3, 32, 32) of 10 classes."""
    random = torch.Generator().manual_seed(0)
    x, x_test = (torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=random) for n in (n_train, 50))
    return Dataset("random colours", x, torch.arange(n_train) % 10, x_test, torch.arange(50) % 10, max_value=255.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=60_000, help="of the two methods at two batch sizes")
    options = parser.parse_args()
    use_one_thread()
    data = load_images(options.data_dir)
    assert isinstance(data.x, Tensor)
    n = options.samples
    data = replace(data, x=data.x[:n], y=data.y[:n], x_test=data.x_test[:TESTED], y_test=data.y_test[:TESTED])
    rows = [
        compare(Case(f"{method}, batch {size}", data, size), options.rounds, both=True)[0]
        for size in (32, 256)
        for method in ("finetune", "rehearsal")
    ]
    long = Case("rehearsal, batch 32, 5,000 updates", random_images(ONLINE_STEPS * 32, 100), 32)
    row, timings = compare(long, min(ONLINE_ROUNDS, options.rounds), note_steps=True)
    by_window = {name: rates(timings[name]) for name in ("bare", "redwood")}
    resnet = Case("finetune, slim_resnet18, batch 32", colour_images(IMAGES), 32, "slim_resnet18")
    rows += [row, compare(resnet, min(RESNET_ROUNDS, options.rounds), predict_first=True)[0]]
    flat = by_window["redwood"][-1] / by_window["redwood"][0]
    windows = [
        {"updates/CPU s": name} | {f"to {(i + 1) * WINDOW}": rate for i, rate in enumerate(found)}
        for name, found in by_window.items()
    ]
    about = (
        f"{data.name}, {len(data.y)} samples in {NB_TASKS} phases, medians of {options.rounds} rounds (the two last "
        f"cases at most {ONLINE_ROUNDS}, on random images). With the ResNet, whose batch normalisation behaves "
        "otherwise at test, both loops predict each batch before they learn from it, with a forward pass of its own."
    )
    verdict = (
        f"The last {WINDOW} of {ONLINE_STEPS} updates run at {flat:.2f} of the speed of the first {WINDOW}; the bar of "
        f"{FLAT} is {'reached' if flat >= FLAT else 'missed'}."
    )
    content = {**environment(), "dataset": data.name, "rounds": options.rounds, "rows": rows, "windows": by_window}
    write("lean_step", content, "\n\n".join([about, markdown_table(rows), markdown_table(windows), verdict]))


if __name__ == "__main__":
    main()

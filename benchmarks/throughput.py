"""Samples per second of redwood, of a loop written by hand, and of Avalanche, on the same training.

Same data (Fashion-MNIST in 5 tasks of 2 classes, one pass), network (784-256-256-10), optimizer (SGD), batches and
buffer (500 samples, a reservoir updated with every batch; as many samples are replayed as come in).

Run: python benchmarks/throughput.py [--batch_size 32] [--data_dir data]. Writes benchmarks/results/throughput_32.*.
"""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import avalanche_runs
import bare
from clocked import RUN_OPTIONS, Clocked, ClockedFinetune, ClockedRehearsal, use_one_thread
from common import Seconds, environment, load_images, markdown_table, median_ratio, take_turns, write
from torch import Tensor, nn

from redwood.buffers import RehearsalBuffer
from redwood.methods.networks import build_network
from redwood.settings import ClassSplit
from redwood.settings.data.dataset import Dataset
from redwood.settings.tree import OnlineClassIncrementalSetting

BUFFER = 500
NB_TASKS = 5
FINETUNE, REPLAY = "bare finetune", "bare replay (vectorised)"
# Bars: the share of the throughput of `REPLAY` that redwood's rehearsal has to reach, by batch size.
BARS = {32: 0.85, 256: 0.95}
# What Avalanche gets of the stream: all of it would take most of the time.
AVALANCHE_SAMPLES = {None: 20_000, "experience": 20_000, "batch": 10_000}


class Timing(NamedTuple):
    """Cost of training.

    Attributes:
        whole: Time per sample of all that training takes.
        steady: Time per sample of the steps alone, without what comes once per phase.
    """

    whole: Seconds
    steady: Seconds


class Variants:
    """All that is compared, at one batch size."""

    def __init__(self, data: Dataset, batch_size: int) -> None:
        self._data, self._batch_size = data, batch_size
        assert isinstance(data.x, Tensor)
        self._x = data.x
        per_task = data.n_classes // NB_TASKS
        members = [(data.y // per_task == task).nonzero().view(-1) for task in range(NB_TASKS)]
        self._tasks = [(data.x[rows], data.y[rows]) for rows in members]

    def runs(self) -> dict[str, Callable[[], Timing]]:
        """What to run, by name."""
        runs: dict[str, Callable[[], Timing]] = {
            FINETUNE: partial(self._bare, None),
            f"{FINETUNE}, online accuracy": partial(self._bare, None, count_online=True),
            "redwood finetune": partial(self._redwood, ClockedFinetune),
            REPLAY: partial(self._bare, "redwood"),
            f"{REPLAY}, online accuracy": partial(self._bare, "redwood", count_online=True),
            "bare replay (hand-written buffer)": partial(self._bare, "hand-written"),
            "redwood rehearsal": partial(self._redwood, ClockedRehearsal, buffer_size=BUFFER),
        }
        if avalanche_runs.version() is not None:
            for replay, name in avalanche_runs.REPLAYS.items():
                runs[f"Avalanche {name}"] = partial(self._avalanche, replay)
        return runs

    def _setting(self) -> OnlineClassIncrementalSetting:
        return OnlineClassIncrementalSetting(
            dataset=self._data,
            nb_tasks=NB_TASKS,
            stream=ClassSplit(class_order=list(range(10))),
            batch_size=self._batch_size,
        )

    def _network(self) -> nn.Module:
        return build_network("mlp", self._setting().observation_space, self._data.n_classes)

    def _bare(self, buffer: str | None, *, count_online: bool = False) -> Timing:
        memory: RehearsalBuffer | bare.TensorReservoir | None = None
        if buffer == "redwood":
            memory = RehearsalBuffer(BUFFER)
        elif buffer == "hand-written":
            memory = bare.TensorReservoir(BUFFER, *self._tasks[0])
        network = self._network()
        start = Seconds.now()
        bare.train(network, self._tasks, self._batch_size, memory=memory, count_online=count_online)
        time = Seconds.now().since(start).each(len(self._data.y))
        return Timing(time, time)

    def _redwood(self, method_class: type[Clocked], **options: Any) -> Timing:
        method = method_class(model="mlp", lr=bare.LR, **options).start_clock()
        self._setting().apply(method, **RUN_OPTIONS)  # type: ignore[arg-type]
        return Timing(method.fit_time.each(len(self._data.y)), method.steady_step().each(self._batch_size))

    def _avalanche(self, replay: str | None) -> Timing:
        n = AVALANCHE_SAMPLES[replay]
        x, y = self._x[:n], self._data.y[:n]
        time = avalanche_runs.train(
            self._network(), x, y, self._batch_size, replay=replay, buffer_size=BUFFER, nb_tasks=NB_TASKS
        ).each(n)
        return Timing(time, time)


def compare(data: Dataset, batch_size: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all variants.

    Returns:
        A row for each: samples per second, and the ratios of its throughput to the bare loop's of the same round.
    """
    timings = take_turns(Variants(data, batch_size).runs(), rounds)
    rows = []
    for name, times in timings.items():
        base = timings[FINETUNE if "finetune" in name or "Naive" in name else REPLAY]
        row: dict[str, Any] = {"variant": name}
        for part in ("whole", "steady"):
            own, other = [getattr(t, part) for t in times], [t.whole for t in base]
            row[f"{part}: samples/s"] = 1 / median(t.wall for t in own)
            row[f"{part}: samples/CPU s"] = 1 / median(t.cpu for t in own)
            row[f"{part}: ratio (wall)"] = median_ratio([t.wall for t in other], [t.wall for t in own])
            row[f"{part}: ratio (CPU)"] = median_ratio([t.cpu for t in other], [t.cpu for t in own])
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--batch_size", type=int, choices=BARS, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    data = load_images(options.data_dir)
    rows = compare(data, options.batch_size, options.rounds)
    rehearsal = next(row for row in rows if row["variant"] == "redwood rehearsal")
    bar, ratio = BARS[options.batch_size], rehearsal["whole: ratio (CPU)"]
    verdict = (
        f"Redwood's rehearsal reaches {ratio:.2f} of the throughput of {REPLAY}; "
        f"the bar of {bar:.2f} is {'reached' if ratio >= bar else 'missed'}."
    )
    avalanche = avalanche_runs.version()
    about = [
        f"Batches of {options.batch_size}; {data.name}, {len(data.y)} samples; medians of {options.rounds} rounds; "
        "ratios are to the bare loop (finetune or vectorised replay) of the same round.",
        "Avalanche cannot be imported here, so it was not measured."
        if avalanche is None
        else f"Avalanche {avalanche} without metrics and loggers; it is slow, so it got the first "
        f"{AVALANCHE_SAMPLES[None]} samples only, its online replay the first {AVALANCHE_SAMPLES['batch']}.",
    ]
    content = {
        **environment(avalanche=avalanche or "not installed"),
        "dataset": data.name,
        "samples": len(data.y),
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "avalanche_samples": {str(replay): n for replay, n in AVALANCHE_SAMPLES.items()},
        "rows": rows,
        "verdict": verdict,
    }
    write(f"throughput_{options.batch_size}", content, "\n\n".join([*about, markdown_table(rows), verdict]))


if __name__ == "__main__":
    main()

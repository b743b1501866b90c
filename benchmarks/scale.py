"""Whether a cost grows with the stream: many tasks and classes, a large buffer, a million steps. No data is needed.

CPU time of the first tenth of a stream against its last tenth, bytes of checkpoints, and memory. The cases:

- tasks: `rehearsal` on 100 tasks of 10 classes, random features; each phase is followed by a test of all 1,000 classes
- buffer: `rehearsal` on one stream of 1,000,000 samples that all fit into the buffer, 50 at each of 20,000 steps
- stream: the stream and the scorer alone, 1,000,000 steps of one sample, so that nothing hides their cost
- asked: predictions asked for before the labels come, at the start of phases of 1,000 and of 1,000,000 steps

Run: OMP_NUM_THREADS=1 python benchmarks/scale.py. Writes benchmarks/results/scale.*.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import torch
from clocked import RUN_OPTIONS, ClockedRehearsal, use_one_thread
from common import environment, markdown_table, resident_bytes, write

from redwood.engine import loop
from redwood.engine.cost import peak_memory_bytes, reset_peak_memory
from redwood.engine.folder import RunFolder
from redwood.engine.run import Run
from redwood.methods.baselines import Random
from redwood.settings.data.dataset import Dataset
from redwood.settings.scores.results import Results
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.tree import ClassIncrementalSetting, ContinualSetting

MIB = 2**20
NOTE = (
    "Memory before the first case is that of the libraries; later cases start with what the allocator "
    "keeps. A case adds its data, its buffer, and the pictures of a run folder (tasks). A step of the "
    "stream adds some 50 bytes: the sample, its label twice, its prediction, and the place, size and "
    "score of its batch. A checkpoint between phases grows with the matrix, which it holds twice, and "
    "with the buffer until that is full."
)
BAR = 1.10  # largest quotient of the last tenth and the first


def random_features(n_classes: int, n_train: int, n_test: int, n_features: int) -> Dataset:
    """Points around a random centre for each class."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(n_classes, n_features, generator=random)
    parts = []
    for n in (n_train, n_test):
        y = torch.arange(n_classes).repeat(n)
        parts += [centres[y] + torch.randn(len(y), n_features, generator=random), y]
    return Dataset("random features", *parts)


def random_bytes(n: int) -> Dataset:
    """Eight random bytes a sample, of ten classes."""
    random = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 8), dtype=torch.uint8, generator=random)
    y = torch.arange(n) % 10
    return Dataset("random bytes", x, y, x[:1000], y[:1000], max_value=255.0)


def tenths(values: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last tenth of the values, without the very first, which sets things up."""
    n = max(1, len(values) // 10)
    return mean(values[1 : n + 1]), mean(values[-n:])


def row(case: str, what: str, unit: str, values: Sequence[float]) -> dict[str, Any]:
    """A line of the table."""
    first, last = tenths(values)
    return {
        "case": case,
        "what": what,
        "unit": unit,
        "first tenth": first,
        "last tenth": last,
        "last / first": last / first,
    }


class Spent:
    """CPU milliseconds of each call of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.each = function, list[float]()

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        start = time.process_time()
        found = self.function(*args, **options)
        self.each.append(1e3 * (time.process_time() - start))
        return found


def memory_since(before: int) -> dict[str, float]:
    """Peak of this process since `reset_peak_memory`, above what was resident `before`, in MiB."""
    return {"peak (MiB)": peak_memory_bytes() / MIB, "of it before the case (MiB)": before / MIB}


def start_measuring() -> int:
    """Forget the peak of memory so far; returns the bytes in use."""
    gc.collect()
    reset_peak_memory()
    return resident_bytes()


def many_tasks(n_tasks: int, n_classes: int) -> dict[str, Any]:
    """Class-incremental rehearsal with a run folder."""
    before = start_measuring()
    data = random_features(n_classes, n_train=20, n_test=10, n_features=64)
    setting = ClassIncrementalSetting(dataset=data, nb_tasks=n_tasks, batch_size=10, passes=2)
    method = ClockedRehearsal(model="mlp", buffer_size=2 * n_classes)
    method.start_clock()
    saved: list[int] = []

    def save(folder: RunFolder, *args: Any) -> None:
        write_state(folder, *args)
        saved.append((folder.path / "checkpoints" / "boundary.pt").stat().st_size)

    write_state = RunFolder.save
    tested, kept = Spent(SupervisedStream.evaluate), Spent(loop._save)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(RunFolder, "save", save),
        patch.object(SupervisedStream, "evaluate", lambda *args: tested(*args)),
        patch.object(loop, "_save", kept),
    ):
        results: Results = setting.apply(method, run_dir=f"{folder}/run", **RUN_OPTIONS)
        sizes = {path.name: path.stat().st_size for path in sorted(Path(folder).rglob("*")) if path.is_file()}
    steps = [1e3 * phase[-1].since(phase[5]).cpu / (len(phase) - 6) for phase in method.steps]
    classes = n_classes * 1e-3
    return {
        "rows": [
            row("tasks", "a step of rehearsal", "ms", steps),
            row("tasks", "evaluation of 1,000 classes", "ms", [spent / classes for spent in tested.each[1:]]),
            row("tasks", "checkpoint between phases, and the logs in it", "ms", kept.each[1:]),
            row("tasks", "checkpoint between phases", "kB", [size / 1e3 for size in saved[1:]]),
        ],
        "memory": {"case": "tasks", **memory_since(before)},
        "files (bytes)": sizes,
        "training_time_s": results.cost.training_time_s,
        "evaluation_time_s": results.cost.evaluation_time_s,
        "average accuracy": results.objective,
    }


def large_buffer(n_rows: int, batch_size: int) -> dict[str, Any]:
    """Rehearsal that stores every sample of a stream without boundaries."""
    before = start_measuring()
    setting = ContinualSetting(dataset=random_bytes(n_rows), nb_tasks=10, batch_size=batch_size, passes=1)
    method = ClockedRehearsal(model="mlp", buffer_size=n_rows)
    method.start_clock()
    results = setting.apply(method, **RUN_OPTIONS)
    stamps = method.steps[0]
    chunk = len(stamps) // 100
    chunks = [stamps[n + chunk - 1].since(stamps[n]) for n in range(0, len(stamps) - chunk + 1, chunk)]
    each = [1e3 * spent.cpu / (chunk - 1) for spent in chunks]
    return {
        "rows": [row("buffer", f"a step of rehearsal, {n_rows:,} rows in the end", "ms", each)],
        "memory": {"case": "buffer", **memory_since(before), "buffer (MiB)": results.cost.buffer_bytes / MIB},
    }


def long_stream(n_steps: int) -> dict[str, Any]:
    """The stream and the scorer alone; a checkpoint inside the phase after each tenth."""
    before = start_measuring()
    phase = ContinualSetting(dataset=random_bytes(n_steps), nb_tasks=10, batch_size=1, passes=1).open_stream().phase(0)
    opened = resident_bytes()
    answer, each, saving, sizes = torch.zeros(1, dtype=torch.long), list[float](), list[float](), list[int]()
    chunk, start = n_steps // 100, time.process_time()
    for step, batch in enumerate(phase.train, 1):
        phase.score(answer, batch)
        if step % chunk == 0:
            each.append(1e6 * (time.process_time() - start) / chunk)
            if step % (10 * chunk) == 0:
                start = time.process_time()
                state = phase.state_dict()["online"]
                saving.append(1e3 * (time.process_time() - start))
                sizes.append(sum(values.nbytes for values in state.values()))
            start = time.process_time()
    points = len(phase.online.curve())
    return {
        "rows": [
            row("stream", f"a step of the stream and the scorer, of {n_steps:,}", "us", each),
            row("stream", "state of the scorer in a checkpoint inside the phase", "ms", saving),
            row("stream", "state of the scorer in a checkpoint inside the phase", "kB", [n / 1e3 for n in sizes]),
        ],
        "memory": {
            "case": "stream",
            **memory_since(before),
            "with data and phase (MiB)": opened / MIB,
            "after all steps (MiB)": resident_bytes() / MIB,
        },
        "points of the online curve": points,
    }


def asked(short: int, long: int) -> dict[str, Any]:
    """The first steps of a short and of a long phase whose labels come late."""
    found = []
    for n_steps in (short, long):
        setting = ContinualSetting(dataset=random_bytes(n_steps), nb_tasks=10, batch_size=1, passes=1, label_delay=1)
        stream, method = setting.open_stream(), Random()
        method.attach(Run(quiet=True, accelerator="cpu"))
        method.configure(setting.for_method())
        batches = iter(stream.phase(0, method).train)
        next(batches)
        start = time.process_time()
        for _ in range(short - 2):
            next(batches)
        found.append(1e3 * (time.process_time() - start) / (short - 2))
    line = {"case": "asked", "what": f"a step of phases of {short:,} and of {long:,} steps", "unit": "ms"}
    return {"rows": [line | {"first tenth": found[0], "last tenth": found[1], "last / first": found[1] / found[0]}]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the buffer, and samples of its stream")
    parser.add_argument(
        "--steps", type=int, default=1_000_000, help="steps of the stream that is served and scored alone"
    )
    options = parser.parse_args()
    use_one_thread()
    cases = [
        many_tasks(options.tasks, options.classes),
        large_buffer(options.rows, batch_size=50),
        long_stream(options.steps),
        asked(1000, options.steps),
    ]
    rows = [line for case in cases for line in case["rows"]]
    memory = [case["memory"] for case in cases if "memory" in case]
    grown = [f"{line['case']}: {line['what']} ({line['unit']})" for line in rows if line["last / first"] > BAR]
    verdict = f"Bar: last / first <= {BAR}. Above it: {'; '.join(grown) or 'nothing'}."
    names = list(dict.fromkeys(name for used in memory for name in used))
    tables = [
        markdown_table(rows),
        verdict,
        markdown_table([{name: used.get(name) for name in names} for used in memory]),
    ]
    write("scale", {**environment(), "cases": cases, "verdict": verdict}, "\n\n".join([*tables, NOTE]))


if __name__ == "__main__":
    main()

"""Image files that are decoded ahead by worker processes, against a bare torch DataLoader with as many of them.

20,000 JPEGs of 256 pixels (250 different ones) in class folders, resized to 224. Four checks:

- `speed`: images per second of redwood and of a bare DataLoader, in turns, from the first batch on; and the time of
  the processor that the processes take for an image, which others on the machine hardly change.
- `waiting`: how long a training that sleeps 20 ms a step waits for a batch of 8, with processes and without.
- `memory`: of the training process and of those that decode, over a pass; and of the list of a million files.
- `exact`: a run that decodes in processes is killed (SIGKILL), and resumed without processes: results and weights.

Run: OMP_NUM_THREADS=1 python benchmarks/input_pipeline.py [--only speed waiting memory exact] [--images 20000].
Writes benchmarks/results/input_pipeline.*; what is not run keeps its earlier figures.
"""

import argparse
import io
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from clocked import use_one_thread
from common import RESULTS, environment, markdown_table, median_ratio, resident_bytes, take_turns, write
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, PILToTensor, Resize

from redwood.engine.checkpoints import read_checkpoint
from redwood.methods.base import Method
from redwood.settings import TraditionalSetting
from redwood.settings.data.catalog import load_dataset
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.paths import PathTable
from redwood.settings.phase import Phase

SIDE, SIZE, DIFFERENT, CLASSES = 256, 224, 250, 10
BATCH, SMALL_BATCH, STEP_S = 32, 8, 0.02
STEPS, SLEPT_STEPS = 25, 100  # of a round
MEASURED = ("cost", "config")  # clocks, and the number of processes
PARTS = ("speed", "waiting", "memory", "exact")

Found = dict[str, Any]


def write_images(root: Path, n_train: int, n_test: int) -> None:
    """Folders `train` and `test` of classes, of smooth images with noise, about 20 kB each."""
    random = np.random.default_rng(0)
    jpegs = []
    for _ in range(DIFFERENT):
        coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        noisy = (pixels + random.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=88)
        jpegs.append(file.getvalue())
    for split, count in (("train", n_train), ("test", n_test)):
        for label in range(CLASSES):
            (root / split / f"class{label}").mkdir(parents=True)
        for number in range(count):
            path = root / split / f"class{number % CLASSES}" / f"{number:06d}.jpg"
            path.write_bytes(jpegs[number % DIFFERENT])


@dataclass
class Consumer(Method):
    """Takes some batches, sleeps after each, and notes how long it waited for it and how much memory there is."""

    steps: int = 0  # batches to take (0: all)
    sleep_s: float = 0.0  # seconds that a step takes
    note_memory: bool = False  # look at the memory of all processes now and then

    def configure(self, setting: Any) -> None:
        """Start with empty notes."""
        self.waits: list[float] = []
        self.memory: list[float] = []
        self.images, self.seconds, self.cpu_seconds = 0, 0.0, 0.0

    def fit(self, phase: Phase) -> None:
        """Take the batches."""
        for _ in range(phase.train.epochs):
            self.take(batch.x for batch in phase.train)

    def take(self, batches: Iterator[Tensor]) -> None:
        """Take batches, and note the time without the first one."""
        next(batches)
        start, cpu_start = time.perf_counter(), cpu_seconds()
        asked = start
        for number, x in enumerate(batches):
            now = time.perf_counter()
            self.waits.append(now - asked)
            self.images += len(x)
            if number + 1 == self.steps:
                break
            if self.note_memory and number % 10 == 0:
                self.memory.append(memory_mb())
            time.sleep(self.sleep_s)
            asked = time.perf_counter()
        self.seconds, self.cpu_seconds = time.perf_counter() - start, cpu_seconds() - cpu_start

    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Class 0."""
        return torch.zeros(len(x), dtype=torch.long)


def _family() -> list[int]:
    """This process and those that decode."""
    return [os.getpid(), *(process.pid or 0 for process in multiprocessing.active_children())]


def cpu_seconds() -> float:
    """Time of the processor that this process and those that decode have taken (Linux)."""
    fields = [Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split() for number in _family()]
    return sum(int(own[11]) + int(own[12]) for own in fields) / os.sysconf("SC_CLK_TCK")


def memory_mb() -> float:
    """Memory in RAM of this process and of those that decode, shared pages in parts (Linux)."""
    total = 0
    for number in _family():
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) if line.startswith("Pss:") else 0
    return total / 1024


def by_redwood(data: Dataset, batch: int, num_workers: int, **options: Any) -> Consumer:
    """A run whose method takes batches."""
    method = Consumer(**options)
    setting = TraditionalSetting(dataset=data, nb_tasks=1, passes=1, batch_size=batch, eval_tasks="seen")
    setting.apply(method, quiet=True, accelerator="cpu", num_workers=num_workers)
    return method


def by_torch(root: Path, batch: int, num_workers: int, **options: Any) -> Consumer:
    """The same with a DataLoader over `ImageFolder`."""
    images = ImageFolder(str(root / "train"), Compose([Resize((SIZE, SIZE)), PILToTensor()]))
    method = Consumer(**options)
    method.configure(None)
    loader = DataLoader(images, batch_size=batch, shuffle=True, num_workers=num_workers)
    method.take(x for x, _ in loader)
    return method


def speed(root: Path, data: Dataset, rounds: int) -> Found:
    """Images per second of both, in turns."""
    rows = []
    for workers in (1, 2):
        variants: dict[str, Callable[[], Consumer]] = {
            "redwood": partial(by_redwood, data, BATCH, workers, steps=STEPS),
            "torch": partial(by_torch, root, BATCH, workers, steps=STEPS),
        }
        found = take_turns(variants, rounds)
        rates = {name: [one.images / one.seconds for one in taken] for name, taken in found.items()}
        costs = {name: [1e3 * one.cpu_seconds / one.images for one in taken] for name, taken in found.items()}
        rows.append(
            {
                "processes": workers,
                "redwood, images/s": median(rates["redwood"]),
                "torch, images/s": median(rates["torch"]),
                "redwood / torch": median_ratio(rates["redwood"], rates["torch"]),
                "lowest": min(a / b for a, b in zip(rates["redwood"], rates["torch"], strict=True)),
                "highest": max(a / b for a, b in zip(rates["redwood"], rates["torch"], strict=True)),
                "redwood, CPU ms/image": median(costs["redwood"]),
                "torch, CPU ms/image": median(costs["torch"]),
                "torch / redwood, CPU": median_ratio(costs["torch"], costs["redwood"]),
            }
        )
        print(rows[-1], flush=True)
    return {"rows": rows, "rounds": rounds}


def waiting(root: Path, data: Dataset, rounds: int) -> Found:
    """How long a step of 20 ms waits for its batch."""
    steps = {"steps": SLEPT_STEPS, "sleep_s": STEP_S}
    variants: dict[str, Callable[[], Consumer]] = {
        "2 processes": partial(by_redwood, data, SMALL_BATCH, 2, **steps),
        "torch, 2 processes": partial(by_torch, root, SMALL_BATCH, 2, **steps),
        "training process": partial(by_redwood, data, SMALL_BATCH, 0, **steps),
    }
    found = take_turns(variants, rounds)
    rows = [
        {
            "decoded by": name,
            "wait, ms (median of steps)": 1e3 * median(wait for one in taken for wait in one.waits),
            "wait, ms (mean)": 1e3 * median(mean(one.waits) for one in taken),
            "mean wait / step of 20 ms": median(mean(one.waits) for one in taken) / STEP_S,
            "best round": min(mean(one.waits) for one in taken) / STEP_S,
        }
        for name, taken in found.items()
    ]
    return {"rows": rows, "rounds": rounds}


def memory(root: Path, data: Dataset) -> Found:
    """Memory over a pass, and that of a list of files."""
    method = Consumer(note_memory=True)
    setting = TraditionalSetting(dataset=data, nb_tasks=1, passes=1, batch_size=BATCH, eval_tasks="seen")
    setting.apply(method, quiet=True, accelerator="cpu", num_workers=2)
    tenth = len(method.memory) // 10
    parts = [method.memory[number * tenth : (number + 1) * tenth] for number in range(10)]
    text = "/data/imagenet/train/n{:08d}/n{:08d}_{:06d}.JPEG"
    table, listed = (
        _growth(lambda kind=kind: kind(text.format(n // 1300, n // 1300, n) for n in range(1_000_000)))
        for kind in (PathTable, list)
    )
    return {
        "MB in each tenth of a pass": [round(mean(part)) for part in parts],
        "MB of a million paths": round(table),
        "MB of a million paths as a list": round(listed),
        "bytes sent to each process": len(pickle.dumps(data.x)),
    }


def _growth(make: Callable[[], object]) -> float:
    before = resident_bytes()
    kept = make()
    grown = (resident_bytes() - before) / 1e6
    del kept
    return grown


def exact(root: Path) -> Found:
    """Kill a run that decodes in processes, resume it without, and compare it with one that nobody killed."""
    small = root / "small"
    for split, count in (("train", 20), ("test", 5)):
        for label in range(CLASSES):
            folder = small / split / f"class{label}"
            folder.mkdir(parents=True)
            for path in sorted((root / split / folder.name).iterdir())[:count]:
                shutil.copy(path, folder)
    command = [sys.executable, "cli.py", "--setting", "class_incremental", "--method", "rehearsal"]
    command += ["--dataset", "image_folder", "--data_dir", str(small), "--image_size", "32", "--quiet"]
    command += ["--passes", "2", "--batch_size", "4", "--checkpoint_every", "10", "--accelerator", "cpu"]
    whole, run = root / "whole", root / "killed"
    subprocess.run([*command, "--num_workers", "0", "--run_dir", str(whole)], check=True)
    process = subprocess.Popen([*command, "--num_workers", "2", "--run_dir", str(run)], start_new_session=True)
    kills = 0
    while process.poll() is None and not list(run.glob("checkpoints/inside-phase-001.ckpt")):
        time.sleep(0.02)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    killed = time.perf_counter()
    while _session(process.pid) and time.perf_counter() < killed + 20:
        time.sleep(0.01)
    gone, left = time.perf_counter() - killed, len(_session(process.pid))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("num_workers: 2", "num_workers: 0"))
    subprocess.run([sys.executable, "cli.py", "--resume", str(run)], check=True)
    results, expected = (json.loads((folder / "results.json").read_text()) for folder in (run, whole))
    states = [read_checkpoint(folder / "checkpoints" / "boundary.pt", "")["method"] for folder in (run, whole)]
    networks = [state[0]["network"] for state in states]
    return {
        "killed inside a phase": kills,
        "seconds until no process was left": round(gone, 2),
        "processes left": left,
        "results that differ": [key for key in expected if key not in MEASURED and results.get(key) != expected[key]],
        "weights equal to the bit": all(torch.equal(value, networks[1][name]) for name, value in networks[0].items()),
    }


def _session(leader: int) -> list[str]:
    """The processes of a session that are alive (Linux)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields and int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(entry.name)
    return found


def report(found: Found) -> str:
    """The figures as a page."""
    lines = ["# Input pipeline", "", f"20,000 JPEGs of {SIDE} px, resized to {SIZE}."]
    if "speed" in found:
        lines += ["", "## Images per second", "", markdown_table(found["speed"]["rows"])]
    if "waiting" in found:
        title = f"A step that sleeps {1e3 * STEP_S:.0f} ms, batches of {SMALL_BATCH}"
        lines += ["", f"## {title}", "", markdown_table(found["waiting"]["rows"])]
    for part in ("memory", "exact"):
        if part in found:
            lines += ["", f"## {part.capitalize()}", "", *(f"- {name}: {value}" for name, value in found[part].items())]
    lines += ["", f"Load of the machine (processes that want to run, {os.cpu_count()} cores): {found['load']}."]
    return "\n".join(lines)


def main() -> None:
    """Run the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    use_one_thread()
    file = RESULTS / "input_pipeline.json"
    found: Found = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_images(root, options.images, 100)
        data = load_dataset("image_folder", root, 0, SIZE)
        parts: dict[str, Callable[[], Found]] = {
            "speed": partial(speed, root, data, options.rounds),
            "waiting": partial(waiting, root, data, options.rounds),
            "memory": partial(memory, root, data),
            "exact": partial(exact, root),
        }
        for part in options.only:
            before = os.getloadavg()[0]
            found[part] = parts[part]()
            found["load"] = found.get("load", {}) | {part: [round(before, 1), round(os.getloadavg()[0], 1)]}
            print(part, found[part], found["load"][part], flush=True)
    write("input_pipeline", environment() | found, report(found))


if __name__ == "__main__":
    main()

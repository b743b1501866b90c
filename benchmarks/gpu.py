"""Asynchronous rehearsal on a GPU: first whether it is right, then what it adds to a step (ResNet-50, 3x224x224, bf16).

Run: python benchmarks/gpu.py [--quick] [--minutes 40]. Writes benchmarks/results/gpu.{json,md} after each part of the
steps; one that would begin after 4/5 of these minutes is left out, and named. With `--device cpu` it tries itself out
on a small network in a few minutes, leaves out what needs a GPU, and writes gpu_cpu.{json,md}, whose times say nothing
of a GPU. The last line may be quoted.

The checks are those of `gpu_checks.py` and `gpu_trainer.py`, which also measures steps of a Trainer (slim_resnet18,
bytes that are augmented after the transfer). Then come reading and writing of rows beside plain copies, and steps: of
one process, with and without `torch.compile`; of two processes that share one GPU, over gloo; and, if there are several
GPUs, of one process on each, over NCCL. Images are augmented on the GPU. The loop is plain PyTorch with the calls that
`AsyncRehearsalStrategy` makes, so that all variants take turns; steps are timed by events on the stream that trains.
"""

import argparse
import os
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from common import environment, markdown_table, write
from gpu_checks import checks, different_draws, random_batch, rows_group
from gpu_trainer import loss_of_a_worker, trainer_turns, weights_resumed_differently
from overlap_cases import ASYNC, IDEAL, PLAIN, SYNC, Case, Variant, rotated
from overlap_report import Measured
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import resnet50

from redwood.buffers import AsyncRehearsalBuffer
from redwood.buffers.layout import RowLayout
from redwood.buffers.merging import merged
from redwood.buffers.storage import RowStorage

# Samples stored over all workers, samples that there are, untimed steps before each turn, and classes.
STORED, POOL, LEAD, CLASSES = 4096, 1152, 3, 1000
# Bars: asynchronous / ideal by tier, and the share of a step that is waited for.
RATIO, WAIT = {"cuda": 1.02, "pinned": 1.05, "host": 1.05}, 0.01
# Bar: speed of rows as a share of that of a plain copy. Share of the minutes after which no further part begins.
BANDWIDTH, LATEST = 0.6, 0.8

Batch = dict[str, Tensor]
Row = dict[str, Any]
Steps = tuple[list[Row], list[str]]


@dataclass(frozen=True)
class TierVariant(Variant):
    """One way to train, with its samples stored in `tier`."""

    tier: str = ""


def make_case(batch: int, turns: int, steps: int, tiers: tuple[str, ...], side: int) -> Case:
    """Plain training and rehearsal in each tier, with b / 8 samples replayed beside `batch` ones."""
    variants: dict[str, Variant] = {PLAIN: TierVariant(batch), IDEAL: TierVariant(batch + batch // 8)}
    for tier in tiers:
        variants[f"{SYNC}, {tier}"] = TierVariant(batch, overlap=False, tier=tier)
        variants[f"{ASYNC}, {tier}"] = TierVariant(batch, overlap=True, tier=tier)
    return Case("GPU", "GPU", (3, side, side), replay=batch // 8, blocks=turns, steps=steps, variants=variants)


class Clock:
    """Marks moments on the stream that trains, or on the host if there is no GPU."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"

    def mark(self) -> Any:
        """This moment."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two moments; the GPU has reached both."""
        return float(start.elapsed_time(end) if self._on_gpu else 1e3 * (end - start))

    def wait(self) -> None:
        """Until the GPU has done all that it was told."""
        if self._on_gpu:
            torch.cuda.synchronize()


class Loop:
    """Trains one network in all variants, which take turns."""

    def __init__(self, case: Case, device: torch.device, *, compiled: bool = False) -> None:
        self.case, self.device, self.clock, self.position = case, device, Clock(device), 0
        self.batch_size = case.variants[PLAIN].n
        torch.manual_seed(0)
        network = (
            resnet50(weights=None) if device.type == "cuda" else nn.Sequential(nn.Flatten(), nn.LazyLinear(CLASSES))
        )
        network(torch.zeros(2, *case.shape))
        network.to(device)
        self.network = DistributedDataParallel(network) if dist.is_initialized() else network
        if compiled:
            self.network = torch.compile(self.network, backend="inductor" if device.type == "cuda" else "aot_eager")
        self.optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
        self.pool = random_batch(POOL, case.shape)
        if device.type == "cuda":
            self.pool = {name: leaf.pin_memory() for name, leaf in self.pool.items()}
        self.buffers = {v: self._filled(v) for v in case.variants.values() if isinstance(v, TierVariant) and v.tier}
        self.synchronising: list[str] = []
        self.draws: list[tuple[Any, Any]] = []

    def _filled(self, variant: TierVariant) -> AsyncRehearsalBuffer:
        buffer = AsyncRehearsalBuffer(
            STORED,
            replay=self.case.replay,
            candidates=self.batch_size // 4,
            tier=variant.tier,
            overlap=variant.overlap,
        )
        buffer.open(device=self.device, rows_group=rows_group())
        for _ in range(2 * STORED // self.batch_size):
            buffer.collect()
            raw = self.next_batch(self.batch_size)
            buffer.propose(raw, labels=raw["y"])
            buffer.write(self.on_device(raw) if buffer.on_gpu else raw)
        buffer.flush()
        return buffer

    def next_batch(self, n: int) -> Batch:
        """The next n samples in host memory, as a loader would bring them."""
        if self.position + n > POOL:
            self.position = 0
        start, self.position = self.position, self.position + n
        return {name: leaf[start : start + n] for name, leaf in self.pool.items()}

    def on_device(self, raw: Batch) -> Batch:
        """Samples on the GPU, without waiting for them."""
        return {name: leaf.to(self.device, non_blocking=True) for name, leaf in raw.items()}

    def step(self, variant: Variant) -> None:
        """One training step, with the calls of the strategy in their order.

        Synchronous rehearsal waits before the forward pass until the GPU has brought the next draw.
        """
        buffer, raw = self.buffers.get(variant), self.next_batch(variant.n)
        batch = self.on_device(raw)
        incoming = batch if buffer is not None and buffer.on_gpu else raw
        if buffer is not None:
            start = self.clock.mark()
            with self.watched(variant):
                replayed = buffer.collect()
                self.draws.append((start, self.clock.mark()))
                batch = merged(batch, replayed)
                with buffer.together():
                    buffer.propose(raw, labels=raw["y"])
                    buffer.write(incoming)
            if not variant.overlap:
                self.clock.wait()
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = cross_entropy(self.network(augmented(batch["x"])), batch["y"])
        if buffer is not None:
            with self.watched(variant):
                weight = buffer.weight()
            loss = loss if weight == 1.0 else loss * weight
        loss.backward()
        self.optimizer.step()

    def turn(self, variant: Variant, steps: int) -> dict[str, Any]:
        """Some timed steps of a variant, and a few untimed ones before them."""
        buffer = self.buffers.get(variant)
        if dist.is_initialized():
            dist.barrier()
        for _ in range(LEAD):
            self.step(variant)
        waited = buffer.profiler.seconds["wait"] if buffer is not None else 0.0
        self.draws = []
        marks = [self.clock.mark()]
        for _ in range(steps):
            self.step(variant)
            marks.append(self.clock.mark())
        parts = {}
        if buffer is not None:
            parts["host wait"] = 1e3 * (buffer.profiler.seconds["wait"] - waited) / steps
            buffer.flush()
            buffer.profiler.pause()
        self.clock.wait()
        if buffer is not None:
            parts["GPU wait"] = sum(self.clock.milliseconds(*draw) for draw in self.draws) / steps
        times = [self.clock.milliseconds(*pair) for pair in pairwise(marks)]
        return {"times": times, "cpu": 0.0, "parts": parts, "timeline": []}

    def turns(self) -> dict[str, list[dict[str, Any]]]:
        """All turns of all variants: in rotating order, the same on all workers."""
        variants = self.case.variants
        for variant in variants.values():  # libraries choose their algorithms for each shape
            self.turn(variant, LEAD)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
        for number in range(self.case.blocks):
            for name in rotated(list(variants), number):
                found[name].append(self.turn(variants[name], self.case.steps))
        return found

    @contextmanager
    def watched(self, variant: Variant) -> Iterator[None]:
        """Notes in `synchronising` where asynchronous rehearsal lets this thread wait for the GPU, as torch tells."""
        if self.device.type != "cuda" or not variant.overlap:
            yield
            return
        thread = threading.get_ident()

        def keep(message: Any, *_: Any) -> None:
            if threading.get_ident() == thread and "called a synchronizing" in str(message):
                ours = [frame for frame in traceback.extract_stack() if "redwood" in frame.filename]
                self.synchronising.append(f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "torch")

        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = keep
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")

    def close(self) -> None:
        """Leave the other workers."""
        if dist.is_initialized():
            dist.barrier()
        for buffer in self.buffers.values():
            buffer.close()


def augmented(x: Tensor) -> Tensor:
    """Images (n, 3, h, w) of bytes, half of them mirrored, as numbers around 0."""
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return (torch.where(mirrored, x.flip(-1), x).float() - 127.5) / 64


def speeds(device: torch.device, shape: tuple[int, ...], capacity: int, turns: int) -> list[Row]:
    """Reading and writing rows of a buffer at random slots, beside a plain copy of the same bytes."""
    clock, rows = Clock(device), []
    pool = {name: leaf.to(device) for name, leaf in random_batch(256, shape).items()}
    tier = "cuda" if device.type == "cuda" else "host"
    storage = RowStorage(RowLayout.of(pool), capacity, tier=tier, device=device if tier == "cuda" else None)
    for n in (32, 256):
        batch = {name: leaf[:n] for name, leaf in pool.items()}
        out, source = storage.rows_like(n), storage.rows_like(n)
        slots = [torch.randperm(capacity)[:n] for _ in range(turns)]
        there = [one.to(device) for one in slots]
        times: dict[str, list[float]] = {"copy": [], "read": [], "write": []}
        for turn in range(turns):
            place = there[turn] if tier == "cuda" else slots[turn]
            for name, transfer in (
                ("copy", partial(out.rows.copy_, source.rows)),
                ("read", partial(storage.gather, there[turn], out.rows)),
                ("write", partial(storage.write, place, batch)),
            ):
                start = clock.mark()
                transfer()
                end = clock.mark()
                clock.wait()
                times[name].append(clock.milliseconds(start, end))
        middle = {name: median(found[1:]) for name, found in times.items()}
        n_bytes = n * storage.layout.stride
        shares = {f"{name} / copy": f"{middle['copy'] / middle[name]:.2f}" for name in ("read", "write")}
        rows.append({"rows": n, "bytes": n_bytes, "copy (GB/s)": f"{2e-6 * n_bytes / middle['copy']:.1f}", **shares})
    return rows


def work(
    rank: int, world: int, backend: str, folder: str, cases: list[Case], tiers: tuple[str, ...], compiled: bool = False
) -> None:
    """The life of a process; the first one writes what all of them measured.

    Args:
        rank: Its number.
        world: Number of processes; alone, there is no process group.
        backend: `gloo`: all share one GPU; `nccl`: each has its own.
        folder: Where the processes find each other, and where the results go.
        cases: What to measure.
        tiers: Where samples are stored; `host` alone: there is no GPU.
        compiled: Whether the network is compiled.
    """
    torch.set_num_threads(1)
    device = torch.device("cpu") if tiers == ("host",) else torch.device("cuda", rank if backend == "nccl" else 0)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.cuda.set_device(device)
    if world > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=rank, world_size=world)
    different = different_draws(device, tiers, seeds=1) if world > 1 else []
    found: dict[str, Any] = {"turns": [], "synchronising": [], "different": different}
    for case in cases:
        loop = Loop(case, device, compiled=compiled)
        found["turns"].append(loop.turns())
        found["synchronising"] += loop.synchronising
        loop.close()
        del loop
    everyone: list[Any] = [found]
    if world > 1:
        everyone = [None] * world
        dist.all_gather_object(everyone, found)
        dist.destroy_process_group()
    if rank == 0:
        torch.save(everyone, f"{folder}/results")


def measure(
    name: str, world: int, backend: str, cases: list[Case], tiers: tuple[str, ...], *, compiled: bool = False
) -> Steps:
    """Run so many processes; return the rows of the table and what they say of the bars."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(work, (world, backend, folder, cases, tiers, compiled), nprocs=world)
        everyone = torch.load(f"{folder}/results")
    rows: list[Row] = []
    verdicts = []
    for case, *processes in zip(cases, *(found["turns"] for found in everyone), strict=True):
        measured = Measured(case, world, processes)
        rows += [row(name, measured, variant) for variant in case.variants]
        if tiers != ("host",):  # the times of a CPU say nothing of the bars
            verdicts += [verdict(name, measured, tier) for tier in tiers]
    if tiers != ("host",):
        places = sorted({place for found in everyone for place in found["synchronising"]})
        verdicts.append(f"{name}: the buffer waits for the GPU at {', '.join(places) or 'no place'}.")
    if world > 1:
        different = sorted({which for found in everyone for which in found["different"]})
        verdicts.append(f"{name}: other draws than in host memory: {', '.join(different) or 'none'}.")
    return rows, verdicts


def measure_trainer(case: Case, device: torch.device, tiers: tuple[str, ...]) -> Steps:
    """The same of a Trainer in this process."""
    measured = Measured(case, 1, [trainer_turns(case, Clock(device), device)])
    verdicts = [verdict("Trainer", measured, tier) for tier in tiers] if device.type == "cuda" else []
    return [row("Trainer", measured, variant) for variant in case.variants], verdicts


def row(name: str, measured: Measured, variant: str) -> Row:
    """One row of the table."""
    low, high = measured.quartiles(variant)
    waits = {of: measured.part(variant, of) for of in ("host wait", "GPU wait")}
    return {
        "processes": name,
        "b": measured.case.variants[PLAIN].n,
        "variant": variant,
        "steps/s": f"{1e3 / measured.step(variant):.1f}",
        "step (ms)": f"{measured.step(variant):.2f}",
        "quartiles": f"{low:.2f} to {high:.2f}",
        "/ ideal": f"{measured.ratio(variant, IDEAL)[1]:.3f}",
        "bar": RATIO.get(variant.removeprefix(f"{ASYNC}, "), ""),
        **{f"{of} (ms)": "" if ms is None else f"{ms:.3f}" for of, ms in waits.items()},
    }


def verdict(name: str, measured: Measured, tier: str) -> str:
    """What the figures of one tier say of the bars."""
    variant, b = f"{ASYNC}, {tier}", measured.case.variants[PLAIN].n
    ratio = measured.ratio(variant, IDEAL)[1]
    wait = sum(measured.part(variant, of) or 0.0 for of in ("host wait", "GPU wait")) / measured.step(variant)
    reached = "reached" if ratio <= RATIO[tier] and wait <= WAIT else "missed"
    hidden = measured.hidden(variant, f"{SYNC}, {tier}")
    return (
        f"{name}, b = {b}, tier {tier}: asynchronous / ideal {ratio:.3f} (bar {RATIO[tier]}), {100 * wait:.2f} % of a "
        f"step waited (bar {100 * WAIT:.0f} %): {reached}; hidden share {hidden:.2f}."
    )


def parts(device: torch.device, tiers: tuple[str, ...], quick: bool) -> dict[str, Callable[[], Steps]]:
    """What is measured of steps, the most important first."""
    on_gpu, n_gpus = device.type == "cuda", torch.cuda.device_count()
    many, few = ((2, 5), (2, 5)) if quick or not on_gpu else ((8, 15), (4, 8))
    side, b = (224, 56) if on_gpu else (8, 16)
    small, large = make_case(b, *many, tiers, side), make_case(256 if on_gpu else 32, *few, tiers, side)
    trained, shared = make_case(b, few[0], many[1], tiers, 32), make_case(b, *few, tiers, side)
    found = {
        "Trainer": lambda: measure_trainer(trained, device, tiers),
        "alone": lambda: measure("alone", 1, "", [small, large], tiers),
        "two, gloo": lambda: measure("two on one device, gloo", 2, "gloo", [shared], tiers),
    }
    if n_gpus > 1:
        found["NCCL"] = lambda: measure(f"{n_gpus} GPUs, NCCL", n_gpus, "nccl", [small, large], tiers)
    return found | {"compiled": lambda: measure("alone, compiled", 1, "", [small], tiers, compiled=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps of each")
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    began = time.monotonic()
    on_gpu = options.device == "cuda"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic kernels
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a CUDA device, and there is none; --device cpu tries it out.")
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    tiers = ("cuda", "pinned") if on_gpu else ("host",)
    checked = checks(device, tiers)
    checked["tiers in which a Trainer resumes to other weights"] = (
        ", ".join(weights_resumed_differently(device, tiers)) or "none"
    )
    checked["a worker that is killed"] = loss_of_a_worker(device)
    copied = speeds(device, (3, 224, 224) if on_gpu else (3, 32, 32), STORED if on_gpu else 1024, 30)
    rows: list[Row] = []
    verdicts = [f"{what}: {said}." for what, said in checked.items()]
    if on_gpu:
        reached = all(float(str(row["read / copy"])) >= BANDWIDTH for row in copied)
        verdicts.append(f"reading rows at {BANDWIDTH} of the speed of a copy: {'reached' if reached else 'missed'}.")
    found = parts(device, tiers, options.quick)
    left_out = list(found) + ([] if on_gpu else ["one GPU, several GPUs over NCCL"])
    for name, run in found.items():
        if time.monotonic() - began > 60 * LATEST * options.minutes:
            continue
        measured, said = run()
        left_out.remove(name)
        rows, verdicts = rows + measured, verdicts + said
        rest = [f"left out: {', '.join(left_out) or 'nothing'}.", quotable(rows, tiers, on_gpu)]
        report(on_gpu, checked, verdicts + rest, copied, rows)


def quotable(rows: list[Row], tiers: tuple[str, ...], on_gpu: bool) -> str:
    """What a user may quote of it, in one sentence."""
    if not on_gpu:
        return "redwood's benchmark for GPUs ran from end to end on a CPU; its times say nothing of a GPU."
    found = {
        row["processes"]: row["/ ideal"]
        for row in rows
        if row["variant"] == f"{ASYNC}, {tiers[0]}" and row["b"] == rows[0]["b"]
    }
    said = ", ".join(f"{ratio} ({name})" for name, ratio in found.items())
    return (
        f"On {torch.cuda.get_device_name()} with torch {torch.__version__}, a step with asynchronous rehearsal took so "
        f"many times as long as one on a plain batch of the same size: {said}."
    )


def report(on_gpu: bool, checked: dict[str, str], verdicts: list[str], copied: list[Row], rows: list[Row]) -> None:
    """Write and print all that was found."""
    machine: Row = {"device": "CPU: this shows that the script runs, and nothing of a GPU"}
    if on_gpu:
        machine = {"GPU": torch.cuda.get_device_name(), "GPUs": torch.cuda.device_count(), "CUDA": torch.version.cuda}
    *said, quote = verdicts
    text = [markdown_table([machine]), "\n".join(f"- {one}" for one in said)]
    if on_gpu:
        text += [markdown_table(copied)]
    text += [markdown_table(rows), quote]
    content = {"machine": machine, "checks": checked, "verdicts": verdicts, "speeds": copied, "steps": rows}
    write("gpu" if on_gpu else "gpu_cpu", {**environment(), **content}, "\n\n".join(text))


if __name__ == "__main__":
    main()

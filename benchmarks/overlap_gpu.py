"""What asynchronous rehearsal adds to a training step on a GPU: ResNet-50, 3x224x224 bytes, bf16-mixed.

Run: python benchmarks/overlap_gpu.py [--out DIR]. Writes overlap_gpu.{json,md,png} to benchmarks/results, or to DIR.

First alone; then two processes that share one GPU, over gloo; and, if there are several GPUs, one process on each,
over NCCL. The loop is plain PyTorch with the calls that `AsyncRehearsalStrategy` makes, so that all ways to train take
turns; steps are timed by events on the stream that trains.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, environment, markdown_table
from overlap_cases import ASYNC, IDEAL, SYNC
from overlap_gpu_worker import TIERS, GpuCase, gpu_case, work
from overlap_report import Measured

# Bars: asynchronous / ideal by tier, and the share of a step that is waited for.
RATIO, WAIT = {"cuda": 1.02, "pinned": 1.05}, 0.01

Row = dict[str, Any]


class GpuRun:
    """What was found with one number of processes.

    Attributes:
        name: How they share the work.
        checked: What the checks of the first process found.
        measured: By case.
    """

    def __init__(self, name: str, world: int, backend: str, cases: list[GpuCase]) -> None:
        self.name = name
        with tempfile.TemporaryDirectory() as folder:
            arguments = (world, backend, f"{folder}/store", cases, f"{folder}/results")
            torch.multiprocessing.spawn(work, arguments, nprocs=world)
            everyone = torch.load(f"{folder}/results")
        self.checked = everyone[0]
        turns = zip(cases, *(found["turns"] for found in everyone), strict=True)
        self.measured = [(case, Measured(case, world, list(processes))) for case, *processes in turns]

    def rows(self) -> list[Row]:
        """One row per variant and batch size."""
        return [self._row(case, found, name) for case, found in self.measured for name in case.variants]

    def _row(self, case: GpuCase, found: Measured, name: str) -> Row:
        low, high = found.quartiles(name)
        first, ratio, third = found.ratio(name, IDEAL)
        return {
            "processes": self.name,
            "b": case.batch,
            "r": case.replay,
            "variant": name,
            "step (ms)": f"{found.step(name):.2f}",
            "quartiles": f"{low:.2f} to {high:.2f}",
            "/ ideal": f"{ratio:.3f}",
            "quartiles over turns": f"{first:.3f} to {third:.3f}",
            "host waits (ms)": _fixed(found.part(name, "host wait")),
            "GPU waits (ms)": _fixed(found.part(name, "GPU wait")),
        }

    def verdicts(self) -> list[str]:
        """What the figures say of the bars, and what was checked."""
        said = []
        for case, found in self.measured:
            for tier in TIERS:
                name = f"{ASYNC}, {tier}"
                ratio, bar = found.ratio(name, IDEAL)[1], RATIO[tier]
                waits = [(found.part(name, part) or 0.0) / found.step(name) for part in ("host wait", "GPU wait")]
                hidden = found.hidden(name, f"{SYNC}, {tier}")
                said.append(
                    f"{self.name}, b = {case.batch}, tier {tier}: asynchronous / ideal {ratio:.3f} "
                    f"(bar {bar}: {_reached(ratio <= bar)}); the host waits {100 * waits[0]:.2f} % of a step and the "
                    f"GPU {100 * waits[1]:.2f} % (bar {100 * WAIT:.0f} %: {_reached(sum(waits) <= WAIT)}); "
                    f"hidden share {hidden:.2f}."
                )
        for name, places in self.checked["waits"].items():
            where = f"waits for the GPU at {', '.join(places)}" if places else "never waits for the GPU"
            said.append(f"{self.name}, {name}: in the calls into the buffer the thread that trains {where}.")
        different = self.checked["different"]
        told = "; ".join(different) if different else f"the tiers {' and '.join(TIERS)} draw what host memory does"
        return [*said, f"{self.name}, bit by bit: {told}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="a few steps of each")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark needs a CUDA device, and there is none.", file=sys.stderr)
        raise SystemExit(2)
    # Turns and steps of each, by how long a step takes.
    many, some, few = ((2, 5),) * 3 if options.quick else ((8, 15), (6, 8), (4, 8))
    runs = [
        GpuRun("alone", 1, "", [gpu_case(56, *many), gpu_case(256, *some)]),
        GpuRun("two on one GPU, gloo", 2, "gloo", [gpu_case(56, *few)]),
    ]
    if (n := torch.cuda.device_count()) > 1:
        runs.append(GpuRun(f"{n} GPUs, NCCL", n, "nccl", [gpu_case(56, *many), gpu_case(256, *some)]))
    report(runs, trainers(2 if options.quick else 3), options.out)


def trainers(rounds: int) -> list[Row]:
    """What a Trainer takes, alone."""
    from overlap_gpu_trainer import compare

    return [row for batch in (56, 256) for row in compare(batch, rounds)]


def facts() -> dict[str, Any]:
    """What there is to know of the GPUs."""
    found = torch.cuda.get_device_properties(0)
    return {
        "device": found.name,
        "devices": torch.cuda.device_count(),
        "memory (GiB)": round(found.total_memory / 2**30, 1),
        "multiprocessors": found.multi_processor_count,
        "capability": f"{found.major}.{found.minor}",
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
        "torch": torch.__version__,
        "host": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
    }


def report(runs: list[GpuRun], by_trainer: list[Row], out: Path) -> None:
    """Write the tables, the verdicts and the picture."""
    from overlap_gpu_trace import draw

    out.mkdir(parents=True, exist_ok=True)
    verdicts = [verdict for run in runs for verdict in run.verdicts()]
    verdicts += [
        f"Trainer, b = {row['b']}: {row['strategy']} / plain b + r {row['/ ideal']:.3f}." for row in by_trainer[1::2]
    ]
    rows = [row for run in runs for row in run.rows()]
    traces = {f"{run.name}, {name}": found for run in runs for name, found in run.checked.get("traces", {}).items()}
    streams = [{"variant": name, **row} for name, found in traces.items() for row in found["rows"]]
    text = [
        "ResNet-50, rows 3x224x224 of bytes, bf16-mixed, r = b / 8, c = b / 4. Step times are medians over all steps, "
        "ratios medians over turns. Synchronous: stored before the forward pass, and the next draw waited for. Host "
        "waits: the thread that trains, for the draw and the others' counts. GPU waits: the stream that trains, for "
        "the draw.",
        markdown_table([{"": name, "value": value} for name, value in facts().items()]),
        "## Verdicts",
        "\n".join(f"- {verdict}" for verdict in verdicts),
        "## Steps",
        markdown_table(rows),
        "## As a Trainer does it, alone",
        markdown_table(by_trainer),
        "## Streams of the GPU, alone, b = 56",
        *([markdown_table(streams)] if streams else ["The profiler saw nothing on the GPU."]),
        "![Time line](overlap_gpu.png)",
    ]
    hosts = {
        f"{run.name}, {ASYNC}, {tier}": run.measured[0][1].timelines[f"{ASYNC}, {tier}"]
        for run in runs
        for tier in TIERS
    }
    draw(traces, hosts, out / "overlap_gpu.png")
    content = {**environment(), "machine": facts(), "verdicts": verdicts, "steps": rows, "trainer": by_trainer}
    (out / "overlap_gpu.json").write_text(json.dumps(content | {"streams": streams}, indent=2) + "\n")
    (out / "overlap_gpu.md").write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))


def _fixed(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "missed"


if __name__ == "__main__":
    main()

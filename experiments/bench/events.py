"""The raw events of a run as JSON lines: all that reports are made of.

`config`, `meta` and `start` are written when a run starts; `data` lines and `end` when it ends, at once.
"""

import csv
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch

from redwood.core.errors import DataError
from redwood.core.files import refuse_unreadable, write_atomically
from redwood.experiments.bench.suite import Bench
from redwood.experiments.launchers.jobs import Failure
from redwood.settings.scores.results import Results, installed_versions

Event: TypeAlias = Mapping[str, Any]
EVENTS = "events"


def events_path(folder: Path, run: str) -> Path:
    """The file of the events of a run."""
    return folder / EVENTS / f"{run}.jsonl"


def write_start(path: Path, bench: Bench, seed: int) -> None:
    """Begin the file of a run; that of an earlier attempt is replaced."""
    config = {"bench": bench.name, "setting": bench.setting, "method": bench.method, "seed": seed}
    _write(
        path,
        [
            {"event": "config", **config, "options": dict(bench.options)},
            {"event": "meta", "versions": installed_versions(), **_machine()},
            {"event": "start", "time": time.time()},
        ],
    )


def write_end(path: Path, folder: Path, outcome: Results | Failure) -> None:
    """Add what a run has measured, and how it ended."""
    measured = _measured(outcome) if isinstance(outcome, Results) else []
    ended: dict[str, object] = {"event": "end", "rc": 0 if isinstance(outcome, Results) else 1, "time": time.time()}
    if not isinstance(outcome, Results):
        ended["reason"] = " ".join(outcome.reason.split())
    _write(path, [*read_events(path), *_losses(folder / "metrics.csv"), *measured, ended])


def read_events(path: Path) -> list[Event]:
    """The events of a run; none if the file is not there. A line that was cut short ends them.

    Raises:
        DataError: If another line is damaged, or it is no file.
    """
    if not path.exists():
        return []
    refuse_unreadable(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    events: list[Event] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or "event" not in event:
            if number == len(lines):
                break
            raise DataError(f"{path} is damaged in line {number}; remove the file, and go on with resume.")
        events.append(event)
    return events


def _machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "gpu": gpu}


def _measured(results: Results) -> Iterable[Event]:
    for phase, row in enumerate(results.accuracy_matrix):
        yield {"event": "data", "phase": phase, results.measure.key: row}
    yield {
        "event": "data",
        "metrics": results.metrics,
        "objective": results.objective,
        "share": results.measure.is_share,
    }
    yield {"event": "data", "rate": results.cost.samples_per_s, "units": f"{results.measure.samples}/s"}
    names = ("wall_time_s", "training_samples", "parameters", "peak_memory_bytes", "buffer_bytes")
    cost = {name: getattr(results.cost, name) for name in names}
    yield {"event": "data", "cost": cost | {"total_flops": results.cost.total_flops}}


def _losses(path: Path) -> Iterable[Event]:
    """The training losses that were logged; of a failed run, too."""
    if not path.exists():
        return
    refuse_unreadable(path)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row.get("loss"):
                yield {"event": "data", "step": int(float(row["step"])), "loss": float(row["loss"])}


def _write(path: Path, events: Iterable[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(f"{json.dumps(event)}\n" for event in events).encode())

"""A comparison as a file that other programs read."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from redwood.experiments.report import Row
from redwood.settings.atomic import write_atomically
from redwood.settings.results import METRICS, mean_and_std

# The costs, and whether they differ from seed to seed.
COSTS = {
    "training_flops": False,
    "wall_time_s": True,
    "samples_per_s": True,
    "peak_memory_bytes": True,
    "buffer_bytes": False,
    "parameters": False,
}


def write_comparison(rows: Sequence[Row], path: Path) -> None:
    """Write one line per pair: its seeds, mean and standard deviation of each metric and cost, and what went wrong.

    A metric that is undefined for the pair is left empty. Of costs that no clock or operating system measures, only
    the mean is written.
    """
    known = dict.fromkeys(name for row in rows for run in row.results for name in run.metrics) or METRICS
    columns = [f"{name}{suffix}" for name in known for suffix in ("", "_std")]
    columns += [f"{name}{suffix}" for name, varies in COSTS.items() for suffix in (("", "_std") if varies else ("",))]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["setting", "method", "seeds", *columns, "failure"])
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {"setting": row.setting, "method": row.method, "seeds": len(row.results), "failure": row.failure or ""}
            | dict(_values(row))
        )
    write_atomically(path, text.getvalue().encode())


def _values(row: Row) -> Iterator[tuple[str, float]]:
    if not row.results:
        return
    for name, statistic in mean_and_std(row.results).items():
        if statistic is not None:
            yield name, statistic[0]
            yield f"{name}_std", statistic[1]
    for name, varies in COSTS.items():
        values = [getattr(run.cost, name) for run in row.results]
        yield name, float(np.mean(values))
        if varies:
            yield f"{name}_std", float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

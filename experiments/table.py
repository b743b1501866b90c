"""A comparison as a file that other programs read."""

import csv
from collections.abc import Sequence
from pathlib import Path

from redwood.experiments.report import Row
from redwood.settings.results import METRICS, mean_and_std


def write_comparison(rows: Sequence[Row], path: Path) -> None:
    """Write one line per pair: its seeds, mean and standard deviation of each metric, and what went wrong.

    A metric that is undefined for the pair is left empty.
    """
    columns = [f"{metric}{suffix}" for metric in METRICS for suffix in ("", "_std")]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["setting", "method", "seeds", *columns, "failure"])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {"setting": row.setting, "method": row.method, "seeds": len(row.results), "failure": row.failure or ""}
                | _values(row)
            )


def _values(row: Row) -> dict[str, float]:
    if not row.results:
        return {}
    return {
        f"{metric}{suffix}": value
        for metric, pair in mean_and_std(row.results).items()
        if pair is not None
        for suffix, value in zip(("", "_std"), pair, strict=True)
    }

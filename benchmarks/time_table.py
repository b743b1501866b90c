"""A time-stamped table, month by month: methods that forget on purpose against methods that keep.

The table is generated: two years of sales with a date, three numbers and two texts in each row. What decides the class
(one of three) turns steadily by half a turn, and comes and goes with the season. It is written as a CSV file and read
by `--time_column date --period month`, as a table of one's own would be.

- `continual`: the rows in their order, one pass, nothing is announced: the accuracy before each row is learned.
- `online_domain_incremental`: a phase for each month: the accuracy on the month just learned (in-domain), on the next
  one (next-domain), and on all earlier ones, as CLEAR (Lin et al., NeurIPS 2021) and Wild-Time (Yao et al., NeurIPS
  2022) report them.

Run: python benchmarks/time_table.py [--seeds 5]. Writes benchmarks/results/time_table.*.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from clocked import RUN_OPTIONS, use_one_thread
from common import RESULTS, environment, markdown_table, write

from redwood.branches.streaming.moving_window import MovingWindow
from redwood.branches.streaming.slda import SLDA
from redwood.engine.figures.plots import plot_accuracy_matrix
from redwood.methods import Finetune, Method, Rehearsal
from redwood.settings import ContinualSetting, OnlineDomainIncrementalSetting, Table
from redwood.settings.scores.results import Results

MONTHS, DAYS, ROWS_A_MONTH = 24, 730, 200
KEPT = 400  # rows: two months
LR = 0.1
METHODS: Mapping[str, Callable[[], Method]] = {
    "finetune": partial(Finetune, lr=LR),
    "moving_window": partial(MovingWindow, window=KEPT),
    "rehearsal": partial(Rehearsal, buffer_size=KEPT, lr=LR),
    "slda": SLDA,
}
COLUMNS: Mapping[str, Any] = {"target_column": "sold", "time_column": "date", "period": "month"}


def sales(seed: int) -> pd.DataFrame:
    """Rows of two years in no order: what decides the class turns with time and season."""
    random = np.random.default_rng(seed)
    n = MONTHS * ROWS_A_MONTH
    start, days = pd.Timestamp("2022-01-01"), random.uniform(0, DAYS, n)
    price, distance, warmth = random.normal(size=(3, n))
    weekend, web = random.random(n) < 2 / 7, random.random(n) < 0.5
    turn = np.pi * days / DAYS
    score = np.cos(turn) * price + np.sin(turn) * distance + 0.6 * np.sin(2 * np.pi * days / 365) * warmth
    score += 0.5 * weekend - 0.5 * web * np.cos(turn) + 0.3 * random.normal(size=n)
    return pd.DataFrame(
        {
            "date": (start + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d %H:%M"),
            "price": 20 + 4 * price,
            "distance_km": 9 + 2 * distance,
            "warmth": 12 + 7 * warmth,
            "day": np.where(weekend, "weekend", "workday"),
            "shop": np.where(web, "web", "street"),
            "sold": np.array(["none", "one", "several"])[np.digitize(score, [-0.5, 0.5])],
        }
    )


def scores(table: str, make: Callable[[], Method], seed: int) -> tuple[dict[str, float], Results]:
    """The four accuracies of a method on a table, and the results of its monthly phases."""
    options: dict[str, Any] = {"dataset": Table(table, **COLUMNS), "seed": seed, "passes": 1}
    along = ContinualSetting(**options).apply(make(), **RUN_OPTIONS)
    by_month = OnlineDomainIncrementalSetting(**options).apply(make(), **RUN_OPTIONS)
    matrix = np.array(by_month.accuracy_matrix, dtype=np.float64)
    earlier = np.tril_indices(len(matrix), -1)
    online = along.metrics["online_accuracy"]
    assert online is not None
    return {
        "online": online,
        "in-domain": float(matrix.diagonal().mean()),
        "next-domain": float(matrix.diagonal(1).mean()),
        "earlier months": float(matrix[earlier].mean()),
    }, by_month


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    use_one_thread()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "sales.csv"
        for seed in range(seeds):
            sales(seed).to_csv(table, index=False)
            for name, make in METHODS.items():
                measured, by_month = scores(str(table), make, seed)
                found[name].append(measured)
                if (name, seed) == ("moving_window", 0):
                    plot_accuracy_matrix(by_month, RESULTS / "time_table.png")
                    names = by_month.task_names
    rows = [
        {"method": name} | {key: _shown([run[key] for run in runs]) for key in runs[0]} for name, runs in found.items()
    ]
    text = (
        "# A time-stamped table, month by month\n\n"
        f"{MONTHS} months, {names[0]} to {names[-1]}, about {ROWS_A_MONTH} rows each, one fifth of them for the test; "
        f"one pass; mean and standard deviation of the accuracy in % over {seeds} seeds (tables and runs). "
        f"`moving_window` and `rehearsal` keep {KEPT} rows. `finetune` and `rehearsal` train the MLP with `--lr {LR}`."
        "\n\n" + markdown_table(rows)
    )
    write("time_table", {**environment(), "seeds": seeds, "months": names, "accuracy": found}, text)


def _shown(values: list[float]) -> str:
    deviation = stdev(values) if len(values) > 1 else 0.0
    return f"{100 * mean(values):.1f} ± {100 * deviation:.1f}"


if __name__ == "__main__":
    main()

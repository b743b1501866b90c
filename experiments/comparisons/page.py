"""Comparisons in a report: their finished runs, and what failed."""

import csv
from collections import Counter
from pathlib import Path

from redwood.core.calls import resume_call
from redwood.core.errors import DataError, reason_of
from redwood.core.files import refuse_unreadable
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.plan import ComparisonPlan, has_class_order
from redwood.experiments.report.source import RESULTS, Source, command, read_run

TABLE = "comparison.csv"


def source_of_comparison(folder: Path) -> Source:
    """Read the comparison in a folder, finished or not. A run whose results are damaged is left out, with a note.

    Raises:
        RedwoodError: If its plan or its table cannot be read.
    """
    plan = ComparisonPlan.load(folder)
    runs, notes = [], []
    for path in sorted(folder.glob(f"*/{RESULTS}")):
        try:
            runs.append(read_run(path.parent))
        except DataError as error:
            notes.append(f"A run is left out: {error}")
    planned = [(pair.shown_under, pair.method) for pair in plan.pairs]
    bounds = {(pair.bounds, pair.method): pair.setting for pair in plan.pairs if pair.bounds is not None}
    failures, in_table = _read_table(folder / TABLE)
    done = Counter((run.results.setting, run.results.method) for run in runs)
    begun = {(pair.shown_under, pair.method) for pair in plan.pairs if (pair.setting, pair.method) in done}
    # The table leaves out pairs that the data does not suit; without a table, all that was planned may still come.
    shown = [pair for pair in planned if pair in begun or pair in in_table or not in_table]
    missing = {}
    if not in_table:
        left = {pair: _planned(plan, pair) - done[pair.setting, pair.method] for pair in plan.pairs}
        missing = {(pair.shown_under, pair.method): count for pair, count in left.items() if count > 0}
        told = f"{len(runs)} of {len(runs) + sum(missing.values())} runs are there; go on with {resume_call(folder)}."
        notes += [told] if missing else []
    return Source(folder, "comparison", _command_of(plan), runs, shown, failures, missing, bounds, notes)


def _planned(plan: ComparisonPlan, pair: Pair) -> int:
    """The number of runs of a pair; the user's code is not run to know whether it has an order of classes."""
    ordered = plan.n_orders is not None and (":" in pair.setting + pair.method or has_class_order(pair, plan.arguments))
    return plan.n_seeds * (plan.n_orders or 1) if ordered else plan.n_seeds


def _read_table(path: Path) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """The failures in the table of a comparison, and all of its pairs; nothing if there is no such file yet."""
    if not path.exists():
        return {}, set()
    refuse_unreadable(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            pairs = {(line["setting"], line["method"]): line["failure"] or "" for line in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise DataError(
            f"The table {path} is damaged ({reason_of(error)}); write it again by {resume_call(path.parent)}."
        ) from error
    return {pair: " ".join(failure.split()) for pair, failure in pairs.items() if failure}, set(pairs)


def _command_of(plan: ComparisonPlan) -> str:
    """The command that repeats a comparison; empty where objects from Python were among its options."""
    if plan.objects:
        return ""
    settings = dict.fromkeys(pair.shown_under for pair in plan.pairs)
    methods = dict.fromkeys(pair.method for pair in plan.pairs)
    seeds = ["--seeds", str(plan.n_seeds)] if plan.n_seeds > 1 else []
    orders = [] if plan.n_orders is None else ["--class_orders", str(plan.n_orders)]
    return command(["--setting", ",".join(settings), "--method", ",".join(methods), *plan.arguments, *seeds, *orders])

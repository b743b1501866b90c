"""Many runs, one table: every pair that applies, with as many seeds as asked for."""

import traceback
from dataclasses import replace
from itertools import product
from pathlib import Path

from rich.console import Console

from redwood.experiments.options import Options, Pair, parse_options, refuse_unknown
from redwood.experiments.report import Row, print_comparison
from redwood.experiments.runner import execute, label_of, new_run_dir
from redwood.experiments.table import write_comparison
from redwood.methods import get_method, method_names
from redwood.settings import get_setting, setting_names
from redwood.settings.base import why_not_applicable
from redwood.settings.errors import NotApplicableError, RedwoodError
from redwood.settings.plots import plot_comparison
from redwood.settings.results import Results


def select_pairs(settings: str, methods: str) -> list[Pair]:
    """The pairs that two comma lists (or `all`) stand for, of which those that do not apply are left out.

    Raises:
        NotApplicableError: If none applies; the reason of the first is given.
        RedwoodError: If a name is unknown.
    """
    chosen_settings = setting_names() if settings == "all" else settings.split(",")
    chosen_methods = method_names() if methods == "all" else methods.split(",")
    pairs, reasons = [], []
    for setting, method in product(chosen_settings, chosen_methods):
        reason = why_not_applicable(get_setting(setting), get_method(method))
        if reason is None:
            pairs.append(Pair(setting, method))
        else:
            reasons.append(reason)
    if not pairs:
        raise NotApplicableError(reasons[0])
    return pairs


def parse_pairs(pairs: list[Pair], arguments: list[str]) -> list[Options]:
    """The options of each pair; an argument has to belong to at least one of them."""
    parsed = [parse_options(pair, arguments) for pair in pairs]
    nobodys = set.intersection(*(set(unknown) for _, unknown in parsed))
    refuse_unknown(pairs, [argument for argument in parsed[0][1] if argument in nobodys and argument.startswith("-")])
    return [options for options, _ in parsed]


def compare(pairs: list[Pair], arguments: list[str], n_seeds: int, console: Console) -> bool:
    """Run every pair with every seed, one after the other, and end in a table and a plot.

    A pair that fails is reported, and the others go on.

    Returns:
        Whether all of them succeeded.
    """
    parsed = parse_pairs(pairs, arguments)
    given = parsed[0].run.run_dir
    folder = Path(given) if given else new_run_dir(label_of(pairs[0]) if len(pairs) == 1 else "comparison")
    rows = [_run_seeds(pair, options, n_seeds, folder, console) for pair, options in zip(pairs, parsed, strict=True)]
    print_comparison(rows, console)
    folder.mkdir(parents=True, exist_ok=True)
    write_comparison(rows, folder / "comparison.csv")
    one_setting = len({row.setting for row in rows}) == 1
    complete = [(row.method if one_setting else row.label, row.results) for row in rows if row.results]
    if complete:
        plot_comparison(complete, folder / "comparison.png")
    console.print(f"written to {folder}", highlight=False, soft_wrap=True)
    return all(row.failure is None for row in rows)


def _run_seeds(pair: Pair, options: Options, n_seeds: int, folder: Path, console: Console) -> Row:
    results: list[Results] = []
    for seed in range(options.setting.seed, options.setting.seed + n_seeds):
        name = label_of(pair) + (f"-seed{seed}" if n_seeds > 1 else "")
        console.print(f"[bold]{pair.setting}[/] / [bold]{pair.method}[/], seed {seed}", highlight=False)
        try:
            results.append(_run_one(pair, options, seed, folder / name))
        except RedwoodError as error:
            return Row(pair.setting, pair.method, results, failure=str(error))
        except Exception as error:
            traceback.print_exc()
            return Row(pair.setting, pair.method, results, failure=f"{type(error).__name__}: {error}")
    return Row(pair.setting, pair.method, results, failure=None)


def _run_one(pair: Pair, options: Options, seed: int, run_dir: Path) -> Results:
    """Each seed gets a setting and a method of its own: both change while they run."""
    return execute(
        Options(
            setting=replace(options.setting, seed=seed),
            method=replace(options.method),
            run=replace(options.run, run_dir=str(run_dir)),
        )
    )

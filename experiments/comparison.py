"""Many runs, one table: every pair that applies, with as many seeds as asked for."""

import traceback
from dataclasses import replace
from itertools import product
from pathlib import Path

from rich.console import Console

from redwood.experiments.arguments import UsageError
from redwood.experiments.options import Options, Pair, check_arguments, parse_options
from redwood.experiments.report import Row, print_comparison
from redwood.experiments.runner import execute, label_of, new_run_dir, refuse_used
from redwood.experiments.table import write_comparison
from redwood.methods import method_names
from redwood.settings import setting_names
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
    chosen_settings = dict.fromkeys(setting_names() if settings == "all" else settings.split(","))
    chosen_methods = dict.fromkeys(method_names() if methods == "all" else methods.split(","))
    pairs, reasons = [], []
    for setting, method in product(chosen_settings, chosen_methods):
        pair = Pair(setting, method)
        reason = why_not_applicable(*pair.load())
        if reason is None:
            pairs.append(pair)
        else:
            reasons.append(reason)
    if not pairs:
        raise NotApplicableError(reasons[0])
    return pairs


def parse_pairs(pairs: list[Pair], arguments: list[str]) -> list[Options | RedwoodError]:
    """The options of each pair, or why it cannot have them: a value may contradict one setting and suit the others.

    Raises:
        RedwoodError: If an argument belongs to no pair or has the wrong type, or if no pair can have its options.
    """
    check_arguments(pairs, arguments)
    parsed: list[Options | RedwoodError] = []
    for pair in pairs:
        try:
            parsed.append(parse_options(pair, arguments))
        except UsageError:
            raise
        except RedwoodError as error:
            parsed.append(error)
    if isinstance(parsed[0], RedwoodError) and not any(isinstance(options, Options) for options in parsed):
        raise parsed[0]
    return parsed


def compare(pairs: list[Pair], arguments: list[str], n_seeds: int, console: Console) -> bool:
    """Run every pair with every seed, one after the other, and end in a table and a plot.

    A pair that fails is reported, and the others go on.

    Returns:
        Whether all of them succeeded.

    Raises:
        RedwoodError: If the folder to write to holds files already, or no pair can have its options.
    """
    parsed = parse_pairs(pairs, arguments)
    given = next(options.run.run_dir for options in parsed if isinstance(options, Options))
    folder = new_run_dir(label_of(pairs[0]) if len(pairs) == 1 else "comparison") if given is None else Path(given)
    refuse_used(folder)
    for pair, options in zip(pairs, parsed, strict=True):
        if isinstance(options, RedwoodError):
            _announce(console, pair, f"left out: {options}")
    rows = [
        Row(pair.setting, pair.method, failure=str(options))
        if isinstance(options, RedwoodError)
        else _run_seeds(pair, options, n_seeds, folder / name, console)
        for pair, options, name in zip(pairs, parsed, _folder_names(pairs), strict=True)
    ]
    print_comparison(rows, console)
    folder.mkdir(parents=True, exist_ok=True)
    write_comparison(rows, folder / "comparison.csv")
    one_setting = len({row.setting for row in rows}) == 1
    complete = [(row.method if one_setting else row.label, row.results) for row in rows if row.results]
    if complete:
        plot_comparison(complete, folder / "comparison.png")
    console.print(f"written to {folder}", markup=False, highlight=False, soft_wrap=True)
    return all(row.failure is None for row in rows)


def _folder_names(pairs: list[Pair]) -> list[str]:
    """A folder for each pair; methods of one class name, from two files, are numbered."""
    labels = [label_of(pair) for pair in pairs]
    return [
        label if labels.count(label) == 1 else f"{label}-{1 + labels[:number].count(label)}"
        for number, label in enumerate(labels)
    ]


def _announce(console: Console, pair: Pair, text: str) -> None:
    console.print(
        f"{pair.setting} / {pair.method}, {text}", style="bold", markup=False, highlight=False, soft_wrap=True
    )


def _run_seeds(pair: Pair, options: Options, n_seeds: int, run_dir: Path, console: Console) -> Row:
    results: list[Results] = []
    for seed in range(options.setting.seed, options.setting.seed + n_seeds):
        suffix = f"-seed{seed}" if n_seeds > 1 else ""
        _announce(console, pair, f"seed {seed}")
        try:
            results.append(_run_one(options, seed, run_dir.with_name(run_dir.name + suffix)))
        except RedwoodError as error:
            return Row(pair.setting, pair.method, results, failure=str(error))
        except Exception as error:
            traceback.print_exc()
            return Row(pair.setting, pair.method, results, failure=f"{type(error).__name__}: {error}")
    return Row(pair.setting, pair.method, results, failure=None)


def _run_one(options: Options, seed: int, run_dir: Path) -> Results:
    """Each seed gets a setting and a method of its own: both change while they run."""
    return execute(
        Options(
            setting=replace(options.setting, seed=seed),
            method=replace(options.method),
            run=replace(options.run, run_dir=str(run_dir)),
        )
    )

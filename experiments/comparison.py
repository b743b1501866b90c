"""Many runs, one table: every pair that applies, with as many seeds as asked for."""

import os
import signal
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.core.files import remove_temporaries
from redwood.experiments.arguments import UsageError, option_names
from redwood.experiments.jobs import Failure, Job
from redwood.experiments.monitor import make_monitor
from redwood.experiments.options import Options, Pair, check_arguments, parse_options
from redwood.experiments.overview import print_table
from redwood.experiments.plan import Plan
from redwood.experiments.pool import Pool, ThisProcess
from redwood.experiments.resources import find_places
from redwood.experiments.runner import InterruptedRun, TerminatedRun, label_of, new_run_dir, refuse_used, short_names
from redwood.experiments.tables import Row, write_comparison
from redwood.methods import AGENT_PARTS, method_names
from redwood.runs.figures.comparison import Cell, draw_comparison
from redwood.runs.launch import is_first_process, launched_processes
from redwood.runs.lock import FolderLock
from redwood.runs.run import Run
from redwood.runs.signals import Stopped
from redwood.settings import setting_names
from redwood.settings.base import why_not_applicable
from redwood.settings.results import Results


def select_pairs(settings: str, methods: str, arguments: Sequence[str] = ()) -> tuple[list[Pair], list[str]]:
    """The pairs that two comma lists (or `all`) stand for.

    Of several settings, those are left out that lack an option which another one has and which is given: `--dataset`
    says that environments are not meant, and `--env` that data sets are not.

    Args:
        settings: Keys of settings.
        methods: Keys of methods.
        arguments: The other arguments.

    Returns:
        Those that apply; and why each of the others does not, in one sentence.

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
            reasons.append(reason + _hint(pair))
    if not pairs:
        raise NotApplicableError(reasons[0])
    meant, others = _with_options(pairs, arguments)
    return meant, reasons + others


def _hint(pair: Pair) -> str:
    """What else could be meant by a method that does not apply."""
    if pair.method in AGENT_PARTS and pair.load()[0].assumptions.rewards:
        return f" In environments, join it to an agent, as in dqn+{pair.method}."
    return ""


def _with_options(pairs: list[Pair], arguments: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """Those of the pairs that have all given options which a setting of one of them has; and why the others are not."""
    given = option_names(arguments)
    of_settings = {pair.setting: {f.name for f in fields(pair.load()[0])} for pair in pairs}
    of_methods = {pair.method: {f.name for f in fields(pair.load()[1])} for pair in pairs}
    known = set().union(*of_settings.values())
    meant, reasons = [], []
    for pair in pairs:
        lacking = sorted(given & known - of_settings[pair.setting] - of_methods[pair.method])
        if lacking:
            reasons.append(f"{pair.setting} has no option --{lacking[0]}.")
        else:
            meant.append(pair)
    return (meant, reasons) if meant else (pairs, [])


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


def compare(pairs: list[Pair], arguments: list[str], n_seeds: int, console: Console, jobs: int | None = None) -> bool:
    """Run every pair with every seed, and end in a table, a file and a picture.

    A run that fails is reported, and the others go on; pairs that the data does not suit are left out.

    Args:
        pairs: What to compare.
        arguments: Options of the command line; each pair takes those that it has.
        n_seeds: Runs per pair.
        console: Where to print.
        jobs: Runs at once; 1 runs them in this process, None as many as there are cores or GPUs, in processes of
            their own.

    Returns:
        Whether all of them succeeded.

    Raises:
        RedwoodError: If the folder to write to holds files already, or no pair can have its options.
        NotApplicableError: If the data suits no pair.
        InterruptedRun: If the user interrupts it; it can be gone on with.
        TerminatedRun: If it is told to end; likewise.
    """
    parsed = parse_pairs(pairs, arguments)
    _refuse_one_id(_first(parsed).run)
    given = _first(parsed).run.run_dir
    folder = new_run_dir(label_of(pairs[0]) if len(pairs) == 1 else "comparison") if given is None else Path(given)
    plan = Plan.of(folder, pairs, arguments, n_seeds)
    if is_first_process():
        refuse_used(folder)
        plan.save()
    return _carry_out(plan, parsed, console, jobs)


def resume_comparison(folder: Path, console: Console, jobs: int | None = None, *, trusted: bool = False) -> bool:
    """Go on with the comparison in `folder`: complete runs are read, all others go on from where they are.

    Args, result and errors are those of `compare`; code that its plan names is run only if it is `trusted`.
    """
    plan = Plan.load(folder)
    if not trusted:
        plan.refuse_untrusted()
    parsed = parse_pairs(plan.pairs, plan.arguments)
    _refuse_one_id(_first(parsed).run)
    plan.refuse_other_runs(parsed)
    return _carry_out(plan, parsed, console, jobs)


def _carry_out(plan: Plan, parsed: list[Options | RedwoodError], console: Console, jobs: int | None) -> bool:
    lock = FolderLock()
    if is_first_process():
        lock.acquire(plan.folder)
        remove_temporaries(plan.folder)
    try:
        return _run_and_report(plan, parsed, console, jobs)
    finally:
        lock.release()


def _run_and_report(plan: Plan, parsed: list[Options | RedwoodError], console: Console, jobs: int | None) -> bool:
    for pair, options in zip(plan.pairs, parsed, strict=True):
        if isinstance(options, RedwoodError):
            console.print(Text(f"{pair.setting} / {pair.method}, left out: {options}", style="bold"), soft_wrap=True)
    by_pair = list(plan.jobs(parsed))
    try:
        ends = _run_all([job for group in by_pair for job in group], _first(parsed).run, console, jobs)
    except KeyboardInterrupt:
        raise InterruptedRun(plan.folder) from None
    except Stopped as stop:
        raise (InterruptedRun if stop.number == signal.SIGINT else TerminatedRun)(plan.folder) from None
    left_out = {job.pair: end for job, end in ends.items() if isinstance(end, Failure) and not end.applies}
    if len(left_out) == len(plan.pairs):
        raise NotApplicableError(left_out[plan.pairs[0]].reason)
    rows = [
        Row(pair.setting, pair.method, failure=str(options))
        if isinstance(options, RedwoodError)
        else _row(pair, {job: ends[job] for job in group})
        for pair, options, group in zip(plan.pairs, parsed, by_pair, strict=True)
        if pair not in left_out
    ]
    if is_first_process():
        _report(rows, ends, plan.folder, console)
    return all(row.failure is None for row in rows)


def _report(rows: list[Row], ends: dict[Job, Results | Failure], folder: Path, console: Console) -> None:
    """Print the table, and write the file and the picture."""
    write_comparison(rows, folder / "comparison.csv")
    settings = short_names(row.setting for row in rows)
    methods = short_names(row.method for row in rows)
    shown = [replace(row, setting=settings[row.setting], method=methods[row.method]) for row in rows]
    for number, (measure, group) in enumerate(_by_measure(shown).items()):
        print_table(group, console)
        cells = [Cell(row.setting, row.method, row.results, row.failure is not None) for row in group]
        if any(cell.results for cell in cells):
            picture = folder / f"comparison{f'_{measure}' if number else ''}.png"
            draw_comparison(cells, picture, all_methods=methods.values())
    for job, end in ends.items():
        if isinstance(end, Failure) and end.applies and job.log.exists():
            console.print(Text(f"{job.label} failed: what it printed is in {job.log}"), soft_wrap=True)
    console.print(Text(f"written to {folder}"), soft_wrap=True)


def _by_measure(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows of each measure, since accuracies and returns have no place in one table."""
    measures = {row.setting: row.results[0].measure.key for row in rows if row.results}
    usual = next(iter(measures.values()), "")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(measures.get(row.setting, usual), []).append(row)
    return groups


def _run_all(jobs: list[Job], run: Run, console: Console, at_once: int | None) -> dict[Job, Results | Failure]:
    """How each job ended; those that are complete are only read."""
    ends: dict[Job, Results | Failure] = {job: job.results() for job in jobs if job.complete}
    left = [job for job in jobs if job not in ends]
    here = at_once == 1 or launched_processes() > 1
    with (
        make_monitor(console, len(jobs), len(ends), here, run.quiet) as monitor,
        ThisProcess() if here else Pool(find_places(run, at_once)) as pool,
    ):
        for job, end in pool.run(left, monitor.started):
            ends[job] = end
            monitor.ended(job, end)
    return {job: ends[job] for job in jobs}


def _row(pair: Pair, ends: dict[Job, Results | Failure]) -> Row:
    results = [end for end in ends.values() if isinstance(end, Results)]
    reasons = {job.seed: end.reason for job, end in ends.items() if isinstance(end, Failure)}
    if not reasons:
        failure = None
    elif len(set(reasons.values())) == 1 and not results:
        failure = next(iter(reasons.values()))
    else:
        failure = "; ".join(f"seed {seed}: {reason}" for seed, reason in reasons.items())
    return Row(pair.setting, pair.method, results, failure)


def _refuse_one_id(run: Run) -> None:
    """All runs would be logged as one."""
    if run.wandb != "disabled" and os.environ.get("WANDB_RUN_ID"):
        raise UsageError("WANDB_RUN_ID names one Weights & Biases run, but a comparison has several; unset it.")


def _first(parsed: list[Options | RedwoodError]) -> Options:
    return next(options for options in parsed if isinstance(options, Options))

"""Many runs, one table: every pair that applies, with as many seeds as asked for."""

import os
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from redwood.core.calls import resume_call
from redwood.core.errors import NotApplicableError, PinnedOptionError, RedwoodError
from redwood.core.files import refuse_folders, remove_temporaries
from redwood.engine.folder_lock import locked
from redwood.engine.launched import is_first_process
from redwood.engine.pair_results import PairResults, by_measure, marked_bounds, with_short_names
from redwood.engine.run import Run
from redwood.engine.signals import Stopped
from redwood.experiments.command_line.arguments import UsageError, invocation
from redwood.experiments.command_line.options import Options, parse_pairs
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.comparisons.comparison import Comparison
from redwood.experiments.comparisons.page import source_of_comparison
from redwood.experiments.launchers.choice import LaunchOptions
from redwood.experiments.launchers.jobs import Failure, Job, settled
from redwood.experiments.launchers.monitor import make_monitor
from redwood.experiments.launchers.plan import ComparisonPlan, has_class_order, is_finished_sweep
from redwood.experiments.report.comparison_tables import print_comparison, write_comparison
from redwood.experiments.report.page import REPORT, write_report
from redwood.experiments.report.wanted_table import WantedTable, read_table
from redwood.experiments.runs.given import NOTHING, FromPython
from redwood.experiments.runs.runner import InterruptedRun, TerminatedRun, label_of, new_run_dir, refuse_used
from redwood.settings.scores.results import Results

_HOPELESS = 8  # runs that fail in the same way, before any succeeds, until the others are not begun


def compare(
    pairs: list[Pair],
    arguments: list[str],
    n_seeds: int,
    console: Console,
    how: LaunchOptions,
    *,
    n_orders: int | None = None,
    table: str | None = None,
    tables: Console | None = None,
    reports: bool = True,
) -> Comparison:
    """Run every pair with every seed and class order, and end in tables, files, pictures and a page.

    A run that fails is reported, and the others go on; pairs that the data does not suit are left out.

    Args:
        pairs: What to compare.
        arguments: Options of the command line; each pair takes those that it has.
        n_seeds: Seeds per pair.
        console: Where to print the progress.
        how: Where the runs take place, and how many at once.
        n_orders: Orders of the classes, with `n_seeds` seeds each; None: each run draws one from its seed.
        table: Which table is printed and written, too; see `read_table`.
        tables: Where to print the tables at the end (default: where the progress is printed).
        reports: Whether to print the tables, and to write the files, the pictures and the page.

    Returns:
        The results of the pairs.

    Raises:
        RedwoodError: If the folder to write to holds files already, no pair can have its options, or no run will have
            a metric of the table.
        NotApplicableError: If the data suits no pair.
        InterruptedRun: If the user interrupts it; it can be resumed.
        TerminatedRun: If another signal ends it; it can be resumed, too.
    """
    pairs, parsed = _without_pinned(pairs, parse_pairs(pairs, arguments), console)
    refuse_one_id(_first(parsed).run)
    if not _first(parsed).setting.eval_tasks.tests:
        raise UsageError("--eval_tasks none leaves a comparison without scores; leave it out.")
    given = _first(parsed).run.run_dir
    folder = new_run_dir(label_of(pairs[0]) if len(pairs) == 1 else "comparison") if given is None else Path(given)
    plan = ComparisonPlan.of(folder, pairs, arguments, n_seeds, n_orders, how.jobs)
    plan.refuse_too_many(_first(parsed).setting.seed)
    if is_first_process():
        refuse_used(folder)
    wanted = read_table(table, parsed)
    with locked(folder, when=is_first_process()):
        if is_first_process():
            refuse_used(folder)  # again: another process may have used it since the first check
            plan.save()
        return _carry_out(plan, parsed, how, _Output(console, tables or console, wanted, reports))


def _without_pinned(
    pairs: Sequence[Pair], parsed: Sequence[Options | RedwoodError], console: Console
) -> tuple[list[Pair], list[Options | RedwoodError]]:
    """Leave out the pairs whose setting refuses an option that others accept; name each such setting once."""
    kept = [number for number, options in enumerate(parsed) if not isinstance(options, PinnedOptionError)]
    for reason in dict.fromkeys(str(options) for options in parsed if isinstance(options, PinnedOptionError)):
        console.print(Text(f"left out: {reason}"), soft_wrap=True)
    return [pairs[number] for number in kept], [parsed[number] for number in kept]


def resume_comparison(
    folder: Path,
    console: Console,
    how: LaunchOptions,
    changes: Sequence[str] = (),
    *,
    trusted: bool = False,
    table: str | None = None,
    tables: Console | None = None,
    given: FromPython = NOTHING,
) -> Comparison:
    """Go on with the comparison in `folder`: complete runs are read, all others go on from where they are.

    Args, result and errors are those of `compare`; code that its plan names is run only if it is `trusted`. Options
    among `changes` take the place of the plan's, this time. So does the number of runs at once, if `how` has one. What
    its file cannot hold is `given` again.
    """
    plan = ComparisonPlan.load(folder)
    how = replace(how, jobs=how.jobs or plan.at_once)
    plan.take(given, changes)
    if not trusted:
        plan.refuse_untrusted()
    plan.pairs, parsed = _without_pinned(plan.pairs, parse_pairs(plan.pairs, plan.arguments), console)
    plan.refuse_too_many(_first(parsed).setting.seed)
    refuse_one_id(_first(parsed).run)
    wanted = read_table(table, parsed)
    with locked(folder, when=is_first_process()):
        plan.refuse_other_runs(parsed)
        return _carry_out(plan, parsed, how, _Output(console, tables or console, wanted))


class _Output(NamedTuple):
    """Where to print the progress and the tables; a further table; whether to report at all."""

    console: Console
    tables: Console
    table: WantedTable | None
    reports: bool = True


def _carry_out(
    plan: ComparisonPlan, parsed: list[Options | RedwoodError], how: LaunchOptions, output: _Output
) -> Comparison:
    refuse_folders(plan.folder, (*(f"comparison*.{suffix}" for suffix in ("csv", "png", "svg", "tex", "md")), REPORT))
    if is_first_process():
        remove_temporaries(plan.folder)
        for job in chain(*plan.jobs(parsed)):
            job.forget_failure()  # runs that failed are tried again
    return _run_and_report(plan, parsed, how, output)


def _run_and_report(
    plan: ComparisonPlan, parsed: list[Options | RedwoodError], how: LaunchOptions, output: _Output
) -> Comparison:
    console = output.console
    for pair, options in zip(plan.pairs, parsed, strict=True):
        if isinstance(options, RedwoodError):
            console.print(Text(f"{pair.setting} / {pair.method}, left out: {options}", style="bold"), soft_wrap=True)
    if plan.n_orders is not None:
        unordered = (pair.setting for pair in plan.pairs if not has_class_order(pair, plan.arguments))
        for setting in dict.fromkeys(unordered):
            text = f"--class_orders {plan.n_orders} repeats nothing under {setting}, which has no order of classes"
            console.print(Text(text), soft_wrap=True)
    by_pair = list(plan.jobs(parsed))
    try:
        # A run of each pair first: every method has a result early, and what fails everywhere shows soon.
        jobs = [job for turn in zip_longest(*by_pair) for job in turn if job is not None]
        outcomes = _run_all(jobs, _first(parsed).run, plan.folder, how, output)
    except KeyboardInterrupt:
        raise InterruptedRun(plan.folder) from None
    except Stopped as stop:
        raise (InterruptedRun if stop.number == signal.SIGINT else TerminatedRun)(plan.folder) from None
    left_out = {
        job.pair: outcome for job, outcome in outcomes.items() if isinstance(outcome, Failure) and not outcome.applies
    }
    if len(left_out) == len(plan.pairs):
        raise NotApplicableError(left_out[plan.pairs[0]].reason)
    rows = [
        _row(pair, [], str(options))
        if isinstance(options, RedwoodError)
        else _row(pair, *_outcome_of({job: outcomes[job] for job in group}))
        for pair, options, group in zip(plan.pairs, parsed, by_pair, strict=True)
        if pair not in left_out
    ]
    if is_first_process() and output.reports:
        _report(rows, outcomes, plan.folder, output.tables, output.table)
    return Comparison(rows, plan.folder)


def _report(
    rows: list[PairResults],
    outcomes: Mapping[Job, Results | Failure],
    folder: Path,
    console: Console,
    table: WantedTable | None,
) -> None:
    """Print the table, and write the files, the pictures and the page."""
    from redwood.engine.figures.comparison import draw_comparisons  # matplotlib is for the end

    write_comparison(rows, folder / "comparison.csv")
    shown = marked_bounds(with_short_names(rows))
    for group in by_measure(shown).values():
        print_comparison(group, console)
    draw_comparisons(shown, folder)
    if not is_finished_sweep(folder.parent):  # the page of a sweep holds the runs of its best configuration, too
        write_report([source_of_comparison(folder)], folder / REPORT)
    for line in _failures(outcomes):
        console.print(Text(line), soft_wrap=True)
    if table is not None:
        console.out(table.write(shown, folder, f"; make the table by report {folder}"), highlight=False)
    elif not is_finished_sweep(folder.parent):
        words = f"{invocation()} report {shlex.quote(str(folder))} --table latex --figures pdf"
        console.print(Text(f"for a paper: {words}"), soft_wrap=True)
    console.print(Text(f"written to {folder}"), soft_wrap=True)


def _failures(outcomes: Mapping[Job, Results | Failure]) -> Iterator[str]:
    """A line for each reason why runs failed, with the file of what the first of them printed."""
    by_reason: dict[str, list[Job]] = {}
    for job, outcome in outcomes.items():
        if isinstance(outcome, Failure) and outcome.applies and job.log.exists():
            by_reason.setdefault(outcome.reason, []).append(job)
    for reason, jobs in by_reason.items():
        first = f"{jobs[0].label} failed: what it printed is in {jobs[0].log}"
        yield (
            first if len(jobs) == 1 else f"{len(jobs)} runs failed for one reason ({reason.rstrip('.')}), first {first}"
        )


def _run_all(
    jobs: Sequence[Job], run: Run, folder: Path, how: LaunchOptions, output: _Output
) -> Mapping[Job, Results | Failure]:
    """Run all jobs; complete ones are only read. Processes that torchrun has started take them in one order."""
    outcomes: dict[Job, Results | Failure] = {job: job.results() for job in jobs if job.complete}
    launcher = how.make(run, folder)
    with make_monitor(output.console, len(jobs), len(outcomes), how.here, run.quiet) as monitor, launcher:
        monitor.names_logs = output.reports
        _import_for_the_end()
        for job, outcome in launcher.run([job for job in jobs if job not in outcomes], monitor.started):
            outcomes[job] = settled(job, outcome, folder)
            monitor.ended(job, outcomes[job])
            _refuse_hopeless(outcomes, jobs, folder)
    return {job: outcomes[job] for job in jobs}


def _refuse_hopeless(outcomes: Mapping[Job, Results | Failure], jobs: Sequence[Job], folder: Path) -> None:
    """Raise `RedwoodError` if runs of all pairs have failed in the same way, and none has succeeded.

    A data set that is gone or a full disk would fail the others, too.
    """
    reasons = {one.reason if isinstance(one, Failure) and one.applies else "" for one in outcomes.values()}
    everywhere = {job.pair for job in outcomes} == {job.pair for job in jobs}
    if not _HOPELESS <= len(outcomes) < len(jobs) or not everywhere or len(reasons) > 1 or "" in reasons:
        return
    raise RedwoodError(
        f"The first {len(outcomes)} of {len(jobs)} runs failed for one reason ({min(reasons).rstrip('.')}), so the "
        f"others are not begun; mend it, and go on with {resume_call(folder)}."
    )


def _import_for_the_end() -> None:
    """Import the libraries of the report, while the first processes import those of runs."""
    import scipy.stats  # noqa: F401

    import redwood.engine.figures.comparison  # noqa: F401


def _row(pair: Pair, results: list[Results], failure: str | None) -> PairResults:
    return PairResults(pair.shown_under, pair.method, results, failure, None if pair.bounds is None else pair.setting)


def _outcome_of(outcomes: Mapping[Job, Results | Failure]) -> tuple[list[Results], str | None]:
    """The results of the runs of a pair, and why runs failed, in one sentence; None if none did."""
    results = [outcome for outcome in outcomes.values() if isinstance(outcome, Results)]
    reasons = {job.repeat: outcome.reason for job, outcome in outcomes.items() if isinstance(outcome, Failure)}
    if not reasons:
        failure = None
    elif len(set(reasons.values())) == 1 and not results:
        failure = next(iter(reasons.values()))
    else:
        failure = "; ".join(f"{repeat}: {reason}" for repeat, reason in reasons.items())
    return results, failure


def refuse_one_id(run: Run) -> None:
    """All runs would be logged as one."""
    if run.wandb.mode is not None and os.environ.get("WANDB_RUN_ID"):
        raise UsageError("WANDB_RUN_ID names one Weights & Biases run, but a comparison has several; unset it.")


def _first(parsed: Sequence[Options | RedwoodError]) -> Options:
    return next(options for options in parsed if isinstance(options, Options))

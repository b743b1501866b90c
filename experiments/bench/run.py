"""Run a suite, go on with one, or report on a stored one: `bench SUITE` and `resume` of its folder."""

import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.core.files import remove_temporaries
from redwood.engine.folder_lock import locked
from redwood.engine.launched import launched_processes
from redwood.engine.signals import Stopped
from redwood.experiments.bench.events import EVENTS, events_path, read_events, write_end, write_start
from redwood.experiments.bench.report import REPORT, report
from redwood.experiments.bench.scores import problem_of
from redwood.experiments.bench.suite import Bench, Suite, is_bench, is_shipped, load_suite, read_suite
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.options import Options, check_arguments, parse_options
from redwood.experiments.command_line.trust import options_of, refuse_untrusted
from redwood.experiments.launchers.jobs import Job, settled
from redwood.experiments.launchers.monitor import make_monitor
from redwood.experiments.launchers.pool import Pool
from redwood.experiments.launchers.resources import find_resources, resources_needed
from redwood.experiments.runs.runner import InterruptedRun, TerminatedRun, new_run_dir, refuse_used
from redwood.settings.base import why_not_applicable

RUNS = "runs"


def bench(
    suite: str,
    console: Console,
    *,
    run_dir: str | None = None,
    select: str | None = None,
    jobs: int | None = None,
    compare: str | None = None,
    trust: bool = False,
) -> bool:
    """Run a suite, and end in a report; of the folder of a suite's run, only report.

    Args:
        suite: A YAML file, the name of a shipped suite, or a folder.
        console: Where to print.
        run_dir: Folder to write to; None: a new one in `runs/`.
        select: Names and tags of the benches to run, as `a,b`; None: all.
        jobs: Runs at once (default: 1, since runs beside each other are slower).
        compare: Folder of an earlier run of a suite, to compare with.
        trust: Whether code that the suite names may be run.

    Returns:
        Whether all benches pass.

    Raises:
        RedwoodError: If the suite, a folder or an option is not as it should be; nothing is run then.
        InterruptedRun: If the user interrupts it; it can be resumed.
        TerminatedRun: If another signal ends it; it can be resumed, too.
    """
    stored = _stored(compare)
    if Path(suite).is_dir() and (is_bench(Path(suite)) or not is_shipped(suite)):
        for name, value in (("run_dir", run_dir), ("select", select), ("jobs", jobs)):
            if value is not None:
                raise UsageError(f"bench {suite} reports on a stored run, and runs nothing; leave --{name} out.")
        return _report(Path(suite), console, stored)
    wanted = read_suite(suite).select([word for word in (select or "").split(",") if word])
    if not trust:
        _refuse_untrusted(wanted, Path(suite), "bench")
    checked = [(one, _checked(one)) for one in wanted.benches]
    wanted = replace(wanted, benches=tuple(one.lasting() for one in wanted.benches))
    folder = Path(run_dir) if run_dir else new_run_dir(f"bench-{wanted.name}")
    refuse_used(folder)
    with locked(folder):
        refuse_used(folder)  # again: another process may have used it since the first check
        wanted.save(folder)
        return _run_and_report(folder, checked, console, jobs, stored)


def resume_bench(
    folder: Path, console: Console, jobs: int | None = None, *, baseline: str | None = None, trusted: bool = False
) -> bool:
    """Run what is missing or has failed of the suite in `folder`. Args, result and errors are those of `bench`."""
    suite, stored = load_suite(folder), _stored(baseline)
    if not trusted:
        _refuse_untrusted(suite, folder, "resume")
    checked = [(one, _checked(one)) for one in suite.benches]
    with locked(folder):
        return _run_and_report(folder, checked, console, jobs, stored)


def _refuse_untrusted(suite: Suite, source: Path, option: str) -> None:
    """Raise `RedwoodError` if a bench names code, which would be run; `option` names the source, a file or folder."""
    for one in suite.benches:
        for named in ({"setting": one.setting, "method": one.method}, options_of(one.arguments)):
            refuse_untrusted(named, source, option)


def _stored(baseline: str | None) -> Path | None:
    """The folder of `--compare`."""
    if baseline is None:
        return None
    if not is_bench(Path(baseline)):
        raise UsageError(f"--compare {baseline} holds no run of a suite; give the folder of an earlier bench.")
    return Path(baseline)


def _checked(one: Bench) -> Options:
    """The options of a bench.

    Raises:
        UsageError: If its method does not apply, or an option is wrong.
    """
    try:
        reason = why_not_applicable(*one.pair.load())
        if reason is not None:
            raise NotApplicableError(reason)
        check_arguments([one.pair], one.arguments)
        return parse_options(one.pair, one.arguments)
    except RedwoodError as error:
        raise UsageError(f"The bench {one.name} cannot run: {error}") from error


def _run_and_report(
    folder: Path, checked: Sequence[tuple[Bench, Options]], console: Console, jobs: int | None, baseline: Path | None
) -> bool:
    if launched_processes() > 1:
        raise UsageError("bench starts its runs itself; start it once, without torchrun or srun.")
    try:
        remove_temporaries(folder / EVENTS)
        _run(folder, checked, console, jobs or 1)
        return _report(folder, console, baseline)
    except KeyboardInterrupt:
        raise InterruptedRun(folder) from None
    except Stopped as stop:
        raise (InterruptedRun if stop.number == signal.SIGINT else TerminatedRun)(folder) from None


def _run(folder: Path, checked: Sequence[tuple[Bench, Options]], console: Console, at_once: int) -> None:
    """Start all runs that have not succeeded yet, each in its own process, so that a crash is one failure."""
    runs = {
        Job(
            one.pair,
            tuple(one.arguments),
            seed,
            folder / RUNS / name,
            width=resources_needed(options.run, options.setting.workers),
        ): one
        for one, options in checked
        for seed, name in enumerate(one.runs)
    }
    for job, one in runs.items():
        if problem_of(read_events(_events_of(folder, job))) is not None and job.complete:  # its events were lost
            write_start(_events_of(folder, job), one, job.seed)
            write_end(_events_of(folder, job), job.folder, job.results())
    left = [job for job in runs if not job.complete]
    for job in left:
        job.forget_failure()
    first = checked[0][1].run
    with (
        make_monitor(console, len(runs), len(runs) - len(left), here=False, quiet=first.quiet) as monitor,
        Pool(find_resources(first, at_once)) as pool,
    ):

        def started(job: Job) -> None:
            write_start(_events_of(folder, job), runs[job], job.seed)
            monitor.started(job)

        for job, outcome in pool.run(left, started):
            ended = settled(job, outcome, folder)
            write_end(_events_of(folder, job), job.folder, ended)
            monitor.ended(job, ended)


def _events_of(folder: Path, job: Job) -> Path:
    return events_path(folder, job.folder.name)


def _report(folder: Path, console: Console, baseline: Path | None) -> bool:
    page, passed = report(folder, baseline)
    console.out(page, highlight=False)
    console.print(Text(f"written to {folder / REPORT}.md"), soft_wrap=True)
    return passed

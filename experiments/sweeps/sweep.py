"""Many trials of one pair, of which the best on held-out samples is run on all seeds, with tests."""

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from redwood.core.errors import NotApplicableError
from redwood.core.files import plain
from redwood.core.parts import flat
from redwood.engine.folder_lock import locked
from redwood.engine.launched import launched_processes
from redwood.engine.signals import Stopped
from redwood.experiments.command_line.arguments import UsageError, option_names
from redwood.experiments.command_line.options import Options, check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.comparisons.compare import refuse_one_id, resume_comparison
from redwood.experiments.launchers.choice import LaunchOptions
from redwood.experiments.launchers.jobs import Failure, Job, settled
from redwood.experiments.launchers.monitor import make_monitor
from redwood.experiments.launchers.plan import ComparisonPlan, is_comparison, lasting
from redwood.experiments.launchers.resources import find_resources, resources_needed
from redwood.experiments.report.page import REPORT, write_report
from redwood.experiments.report.wanted_table import read_table
from redwood.experiments.runs.runner import (
    InterruptedRun,
    TerminatedRun,
    label_of,
    new_run_dir,
    refuse_other_results,
    refuse_used,
)
from redwood.experiments.sweeps.checks import count_trials, defaults_of, make_space, used
from redwood.experiments.sweeps.page import source_of_sweep
from redwood.experiments.sweeps.plan import (
    ALL_TASKS,
    BEST,
    FILE,
    SCORE,
    SweepPlan,
    held_out_share,
    parse_objectives,
    phases_of,
    refuse_without_score,
    tuned,
)
from redwood.experiments.sweeps.space import as_arguments, read_space, show_values
from redwood.experiments.sweeps.study import Study, Tried, require_optuna
from redwood.experiments.sweeps.summary import Summary, announce
from redwood.experiments.sweeps.trials import ending_of, make_job, shared_failure
from redwood.settings.config import describe_run
from redwood.settings.scores.results import Results

LEAST_IN_ROUND = 4  # so that --jobs up to that many changes no trial


@dataclass(frozen=True)
class Wanted:
    """The options of a sweep on the command line.

    Attributes:
        entries: The options and their values, see `read_space`.
        trials: Configurations to try; None: the default.
        protocol: The tasks that the options are chosen on; None: all of them.
        objectives: The objectives to optimise; None: the score.
        n_seeds: Seeds that the best configuration is run with.
        n_orders: Orders of the classes, with `n_seeds` seeds each; None: each run draws one from its seed.
        trusted: Whether code that a file of values names may be run.
    """

    entries: Sequence[str]
    trials: int | None = None
    protocol: str | None = None
    objectives: str | None = None
    n_seeds: int = 1
    n_orders: int | None = None
    trusted: bool = False


def start_sweep(
    pair: Pair,
    arguments: list[str],
    wanted: Wanted,
    console: Console,
    how: LaunchOptions,
    *,
    table: str | None = None,
) -> bool:
    """Try options of a pair, then run the best ones on all seeds, with tests.

    Args:
        pair: What to run.
        arguments: Options of the command line that are not swept.
        wanted: The sweep.
        console: Where to print.
        how: Where the runs take place, and how many at once.
        table: Which table of the best configuration is printed and written, too; see `compare`.

    Returns:
        Whether the best configuration was found, and all its runs succeeded.

    Raises:
        RedwoodError: If the sweep cannot be as it is wanted; nothing has been written then.
        NotApplicableError: If no samples can be held out, or the data does not suit the method.
        InterruptedRun: If the user interrupts it; it can be resumed.
        TerminatedRun: If another signal ends it; it can be resumed, too.
    """
    if launched_processes() > 1:
        raise UsageError("sweep runs in one process, which starts the workers; leave torchrun or srun out.")
    require_optuna()
    plan, options = _plan(pair, arguments, wanted, how)
    read_table(table, [options])
    refuse_one_id(options.run)
    refuse_used(plan.folder)
    with locked(plan.folder):
        refuse_used(plan.folder)  # again: another process may have used it since the first check
        plan.save()
        sweep = _Sweep(plan, options, console, how, table)
        announce(plan, console, has_defaults=sweep.defaults is not None)
        return sweep.carry_out()


def resume_sweep(
    folder: Path,
    console: Console,
    how: LaunchOptions,
    changes: Sequence[str] = (),
    *,
    trusted: bool = False,
    table: str | None = None,
) -> bool:
    """Go on with the sweep in `folder`.

    Args, result and errors are those of `start_sweep`; code that its plan names is run only if it is `trusted`. Options
    among `changes` take the place of the plan's.
    """
    require_optuna()
    plan = SweepPlan.load(folder)
    if not trusted:
        plan.refuse_untrusted()
    check_arguments([plan.pair], list(changes))
    plan.arguments += changes
    options = tuned(plan.pair, plan.arguments)
    refuse_one_id(options.run)
    read_table(table, [options])
    with locked(folder):
        return _Sweep(plan, options, console, how, table).carry_out()


def _plan(pair: Pair, arguments: list[str], wanted: Wanted, how: LaunchOptions) -> tuple[SweepPlan, Options]:
    """The plan of a new sweep, and the options of its trials."""
    refuse_without_score(pair)
    if "lca" in option_names(arguments):
        raise UsageError("--lca tests within phases, but no trial of a sweep is tested; give it to a run of the best.")
    if "eval_tasks" in option_names(arguments) and not parse_options(pair, arguments).setting.eval_tasks.tests:
        raise UsageError("--eval_tasks none leaves the best options of a sweep without a test; leave it out.")
    best = ComparisonPlan.of(Path(BEST), [pair], arguments, wanted.n_seeds, wanted.n_orders)  # checks the orders
    options = tuned(pair, arguments)
    best.refuse_too_many(options.setting.seed)
    written = read_space(wanted.entries, trusted=wanted.trusted)
    space = make_space(pair, arguments, written)
    n_trials = count_trials(space, wanted.trials)
    validation = held_out_share(options, arguments)
    stream = options.setting.open_stream()
    stream.check(options.method)
    protocol = wanted.protocol or ALL_TASKS
    at_once = min(_places(how, options), n_trials // 4)
    given = options.run.run_dir
    return SweepPlan(
        new_run_dir(f"sweep-{label_of(pair)}") if given is None else Path(given),
        lasting(pair),
        arguments,
        wanted.n_seeds,
        wanted.n_orders,
        written,
        n_trials,
        max(LEAST_IN_ROUND, at_once),
        protocol,
        parse_objectives(wanted.objectives or SCORE),
        validation,
        phases_of(protocol, stream.num_phases, pair),
        stream.results_type.measure.key,
    ), options


def _places(how: LaunchOptions, options: Options) -> int:
    """Return the number of trials that can run at once."""
    if how.here:
        return 1
    if how.launcher in ("slurm", "ray"):
        return how.jobs or sys.maxsize
    return find_resources(options.run, how.jobs).total // resources_needed(options.run, options.setting.workers)


class _Sweep:
    """A sweep while it is carried out."""

    def __init__(
        self, plan: SweepPlan, options: Options, console: Console, how: LaunchOptions, table: str | None
    ) -> None:
        self._plan, self._options, self._console, self._how, self._table = plan, options, console, how, table
        self._space = make_space(plan.pair, plan.arguments, plan.space)
        self.defaults = defaults_of(plan.pair, plan.arguments, self._space)
        self._study = Study(
            plan.folder,
            self._space,
            directions=plan.directions,
            seed=options.setting.seed,
            in_round=plan.in_round,
            first=self.defaults,
        )
        self._started: dict[Job, float] = {}
        self._running: set[Job] = set()

    def carry_out(self) -> bool:
        """Run the trials that are left, report them, and run the best configuration."""
        plan = self._plan
        try:
            self._run_trials()
        except KeyboardInterrupt:
            raise InterruptedRun(plan.folder) from None
        except Stopped as stop:
            raise (InterruptedRun if stop.number == signal.SIGINT else TerminatedRun)(plan.folder) from None
        summary = Summary(plan, self._study.trials(), self._study.importances())
        summary.save()
        summary.print(self._console)
        best = summary.best
        if best is None:
            self._report()
            reason = next((tried.ending.reason for tried in summary.trials if tried.ending.reason), "all ended early")
            told = f"no trial is complete, so that none is the best: {reason}"
            if len(summary.trials) < plan.n_trials:
                told = (
                    f"the sweep stops, as all {len(summary.trials)} trials of its first round failed in the same way; "
                    f"mend this, and start the sweep anew: {reason}"
                )
            self._console.print(Text(told), soft_wrap=True)
            return False
        summary.draw(best, self._space)
        return self._run_best(best, summary)

    def _run_best(self, best: Tried, summary: Summary) -> bool:
        plan, folder = self._plan, self._plan.folder / BEST
        alike = ", ".join(str(tried.number) for tried in summary.alike)
        tie = f" (a tie with {alike}: the fewest FLOPs, then the first, count)" if alike else ""
        told = f"trial {best.number} is the best{tie}: {show_values(best.parameters)}; it is run afresh, with tests"
        self._console.print(Text(told, style="bold"), soft_wrap=True)
        if not is_comparison(folder):
            arguments = [*plan.arguments, *as_arguments(used(plan.pair, plan.arguments, best.parameters))]
            ComparisonPlan(folder, [plan.pair], arguments, plan.n_seeds, plan.n_orders, summary.cost).save()
        try:
            succeeded = resume_comparison(folder, self._console, self._how, trusted=True, table=self._table).complete
        except KeyboardInterrupt:
            raise InterruptedRun(plan.folder) from None
        except TerminatedRun:
            raise TerminatedRun(plan.folder) from None
        self._report()
        self._console.print(Text(f"written to {plan.folder}"), soft_wrap=True)
        return succeeded

    def _report(self) -> None:
        write_report([source_of_sweep(self._plan.folder)], self._plan.folder / REPORT)

    def _run_trials(self) -> None:
        over = sum(tried.is_over for tried in self._study.trials())
        how, run = self._how, self._options.run
        launcher = how.make(run, self._plan.folder)
        with make_monitor(self._console, self._plan.n_trials, over, how.here, run.quiet) as monitor, launcher:
            self._monitor = monitor
            for job, outcome in launcher.run(self._jobs(), self._start):
                self._running.remove(job)
                self._end(job, settled(job, outcome, self._plan.folder))

    def _jobs(self) -> Iterator[Job | None]:
        """The trials that are left, round after round; None while the rest of a round still runs.

        There is no second round if the first one failed in one way: later trials would fail so, too.
        """
        while not self._is_hopeless():
            left = [tried for tried in self._study.open_round(self._plan.n_trials) if not tried.is_over]
            if not left:
                return
            earlier = self._study.earlier(left[0].number)
            width = resources_needed(self._options.run, self._options.setting.workers)
            self._numbers = {
                make_job(self._plan, tried, earlier, seed=self._options.setting.seed, width=width): tried.number
                for tried in left
            }
            self._refuse_other_trials()
            for job in self._numbers:
                outcome = job.outcome()
                if outcome is None:
                    self._running.add(job)
                    yield job
                else:
                    self._end(job, outcome)
            while self._running:
                yield None

    def _is_hopeless(self) -> bool:
        trials = self._study.trials()
        return len(trials) == self._plan.in_round and shared_failure(trials) is not None

    def _refuse_other_trials(self) -> None:
        """Raise `RedwoodError` if the results in the folder of a trial are of a run with other options."""
        for job in self._numbers:
            if job.complete:
                options = parse_options(job.pair, list(job.arguments))
                config = plain(flat(describe_run(options.setting, options.method, options.run)))
                refuse_other_results(job.results(), config, job.folder, FILE)

    def _start(self, job: Job) -> None:
        self._started[job] = time.monotonic()
        self._monitor.started(job)

    def _end(self, job: Job, outcome: Results | Failure) -> None:
        """Write down how a trial has ended."""
        self._monitor.ended(job, outcome)
        if isinstance(outcome, Failure) and not outcome.applies:
            raise NotApplicableError(outcome.reason)
        seconds = time.monotonic() - self._started[job] if job in self._started else 0.0
        self._study.finish(self._numbers[job], ending_of(self._plan, job, outcome, seconds))

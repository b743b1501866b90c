"""What the command line does once its options are known: run a pair, compare several, sweep, or resume."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from redwood.engine.fingerprint import MAY_CHANGE
from redwood.engine.terminal import Terminal
from redwood.experiments.arguments import OneSentenceParser, UsageError, option_names, parse_selection, program
from redwood.experiments.bench.run import bench as run_suite
from redwood.experiments.bench.run import resume_bench
from redwood.experiments.bench.suite import is_bench
from redwood.experiments.comparison import compare, resume_comparison
from redwood.experiments.launchers.choice import LaunchOptions
from redwood.experiments.launchers.slurm import parse_resources
from redwood.experiments.options import parse_options
from redwood.experiments.pairs import Pair
from redwood.experiments.plan import is_comparison
from redwood.experiments.report import folders
from redwood.experiments.runner import resume_run, run_pair
from redwood.experiments.sweeps.plan import is_sweep
from redwood.experiments.sweeps.sweep import Wanted, resume_sweep, start_sweep

# The options of a run that can be given when it goes on; another one is a command.
MAY_BE_GIVEN = MAY_CHANGE - {"extends"}
# Those of several runs; results of another number of workers are not compared with the others.
MAY_BE_GIVEN_TO_ALL = MAY_BE_GIVEN - {"workers", "nodes", "devices"}


def run(pairs: list[Pair], reasons: Sequence[str], chosen: argparse.Namespace, arguments: list[str]) -> bool:
    """Run one pair, compare several, or try options of one.

    Args:
        pairs: The pairs that apply.
        reasons: Why other pairs are left out.
        chosen: The options that choose what to run.
        arguments: All other options, which fit the pairs.

    Returns:
        Whether all runs succeeded.
    """
    console = Terminal()
    if chosen.sweep is not None:
        return _sweep(pairs, chosen, arguments, console)
    every = "all" in (chosen.setting, chosen.method)
    if not every:
        for reason in dict.fromkeys(reasons):
            console.print(f"left out: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(pairs) > 1 or chosen.seeds > 1 or chosen.class_orders is not None or every:
        return compare(
            pairs,
            arguments,
            chosen.seeds,
            console,
            _launch_options(chosen),
            n_orders=chosen.class_orders,
            table=chosen.table,
        )
    if chosen.table is not None:
        raise UsageError(
            f"--table {chosen.table} is of a comparison, and this is one run; leave it out, or add --seeds."
        )
    if chosen.launcher is not None:
        raise UsageError(f"--launcher {chosen.launcher} is for several runs; leave it out, or add --seeds N.")
    run_pair(pairs[0], parse_options(pairs[0], arguments), console)
    return True


def _sweep(pairs: list[Pair], chosen: argparse.Namespace, arguments: list[str], console: Console) -> bool:
    if len(pairs) > 1:
        raise UsageError(
            f"--sweep tries options of one pair, but {len(pairs)} are chosen; name one --setting and one --method."
        )
    names = ("sweep", "trials", "protocol", "objectives", "seeds", "class_orders", "trust")
    wanted = Wanted(*(getattr(chosen, name) for name in names))
    return start_sweep(pairs[0], arguments, wanted, console, _launch_options(chosen), table=chosen.table)


def resume(chosen: argparse.Namespace, rest: Sequence[str]) -> bool:
    """Go on with the run, the comparison or the sweep in the folder of `--resume`.

    Args:
        chosen: The options that choose what to run.
        rest: All other options, which may change when it goes on.

    Returns:
        Whether all runs succeeded.

    Raises:
        UsageError: If there are further options.
    """
    if chosen.help:
        print(_help_of_resume())
        return True
    folder = Path(chosen.resume)
    if is_bench(folder):
        return _resume_bench(folder, chosen, rest)
    several = is_comparison(folder) or is_sweep(folder)
    allowed, _ = parse_selection(["--resume", chosen.resume])
    allowed.trust = chosen.trust
    if several:
        for option in ("jobs", "launcher", "slurm", "table"):
            setattr(allowed, option, getattr(chosen, option))
    may_be_given = MAY_BE_GIVEN_TO_ALL if several else MAY_BE_GIVEN
    if not option_names(rest) <= may_be_given or chosen != allowed:
        options = f"options that may change, such as --{'quiet' if several else 'workers'}"
        more = f"{'--jobs, --launcher, --slurm, --table, ' * several}--trust, or {options}"
        raise UsageError(f"--resume goes on with what was started; give --resume {folder} alone, with {more} at most.")
    if is_sweep(folder):
        how = _launch_options(chosen)
        return resume_sweep(folder, Terminal(), how, rest, trusted=chosen.trust, table=chosen.table)
    if several:
        how = _launch_options(chosen)
        return resume_comparison(folder, Terminal(), how, rest, trusted=chosen.trust, table=chosen.table)
    resume_run(folder, Terminal(), rest, trusted=chosen.trust)
    return True


def _help_of_resume() -> str:
    parser = OneSentenceParser(
        prog=f"{program()} --resume",
        usage="%(prog)s DIR [--trust] [options]",
        description="Go on with the run, comparison, sweep or bench in a folder. "
        f"Options that may change: {_listed(MAY_BE_GIVEN)}. "
        f"Not of several runs: {_listed(MAY_BE_GIVEN - MAY_BE_GIVEN_TO_ALL)}. "
        "Several runs also take --jobs, --launcher, --slurm and --table. "
        "The help of the pair, --setting S --method M --help, says what each option does.",
        add_help=False,
    )
    return parser.format_help()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"--{name}" for name in sorted(names))


def _resume_bench(folder: Path, chosen: argparse.Namespace, rest: Sequence[str]) -> bool:
    allowed, _ = parse_selection(["--resume", chosen.resume])
    allowed.trust, allowed.jobs, allowed.compare = chosen.trust, chosen.jobs, chosen.compare
    if rest or chosen != allowed:
        raise UsageError(
            f"--resume goes on with what was started; give --resume {folder} alone, with --jobs, --compare or --trust "
            "at most."
        )
    return resume_bench(folder, Terminal(), chosen.jobs, baseline=chosen.compare, trusted=chosen.trust)


def bench(chosen: argparse.Namespace, rest: list[str]) -> bool:
    """Run the suite of `--bench`, or report on a stored run.

    Args:
        chosen: The options that choose what to run.
        rest: All other options.

    Returns:
        Whether all benches pass.

    Raises:
        UsageError: If another option chooses what to run, too.
    """
    allowed, _ = parse_selection(["--bench", chosen.bench])
    for name in ("jobs", "compare", "trust", "help"):
        setattr(allowed, name, getattr(chosen, name))
    for option, value in vars(chosen).items():
        if value != getattr(allowed, option):
            raise UsageError(f"--bench runs what its suite names; leave --{option} out.")
    arguments = [*rest, "--help"] if chosen.help else rest
    return run_suite(chosen.bench, arguments, Terminal(), chosen.jobs, baseline=chosen.compare, trusted=chosen.trust)


def report(chosen: argparse.Namespace, rest: Sequence[str]) -> bool:
    """Write one page on the folders of `--report`; it always succeeds, or raises as `folders.report` does.

    Args:
        chosen: The options that choose what to run.
        rest: All other options.

    Raises:
        UsageError: If there are further options beside `--out`.
    """
    allowed, _ = parse_selection(["--report", *chosen.report])
    allowed.help = chosen.help
    for option, value in vars(chosen).items():
        if value != getattr(allowed, option):
            raise UsageError(f"--report runs nothing, and reads what lies in the folders; leave --{option} out.")
    folders.report(chosen.report, [*rest, "--help"] if chosen.help else rest, Terminal())
    return True


def _launch_options(chosen: argparse.Namespace) -> LaunchOptions:
    return LaunchOptions(chosen.launcher, chosen.jobs, parse_resources(chosen.slurm or []))

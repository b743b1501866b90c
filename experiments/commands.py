"""The commands: a run or a comparison of `--setting S --method M`, and the words beside it.

Each takes its part of the command line, and returns whether all has succeeded. What takes seconds to import is imported
once the command's own options are understood, so that its help and its errors come at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from redwood import __version__
from redwood.core.errors import NotApplicableError
from redwood.engine.may_change import MAY_CHANGE
from redwood.experiments.arguments import (
    MOST_PROCESSES,
    MOST_RUNS,
    CommandParser,
    UnknownOptionError,
    UsageError,
    add_launching,
    add_selection,
    check_launching,
    general_help,
    option_names,
    parse_selection,
    refuse_absent_data,
    refuse_old,
    refuse_unknown,
    selection_names,
    selection_parser,
    whole,
)
from redwood.experiments.stored_tree import stored_reason
from redwood.methods.table import method_names
from redwood.settings.table import SETTINGS, setting_names

# The options of a run that can be given when it goes on; another one is a command.
MAY_BE_GIVEN = MAY_CHANGE - {"extends"}
# Those of several runs; results of another number of workers are not compared with the others.
MAY_BE_GIVEN_TO_ALL = MAY_BE_GIVEN - {"workers", "nodes", "devices"}


def run(argv: list[str]) -> bool:
    """Run one pair, or compare several."""
    chosen, rest, in_file = _with_file(argv, selection_parser())
    if chosen.version:
        if len(argv) > 1:
            raise UsageError(f"--version goes alone; leave {next(a for a in argv if a != '--version')} out.")
        print(__version__)
        return True
    if chosen.help and not (chosen.setting and chosen.method):
        print(general_help(setting_names(), method_names()))
        return True
    _check_names(chosen, rest)
    from redwood.experiments import options
    from redwood.experiments.pairs import select_pairs

    pairs, reasons = select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(options.pair_help(pairs[0]))
        return True
    with _told_of_file(chosen, in_file):
        if len(pairs) == 1:  # training libraries take seconds to import, which a wrong option does not wait for
            options.check_arguments(pairs, rest)
        from redwood.engine.terminal import Terminal
        from redwood.experiments import comparison, runner
        from redwood.experiments.launchers.choice import launch_options

        console, every = Terminal(), "all" in (chosen.setting, chosen.method)
        for reason in () if every else dict.fromkeys(reasons):
            console.print(f"left out: {reason}", soft_wrap=True, markup=False, highlight=False)
        if len(pairs) > 1 or chosen.seeds > 1 or chosen.class_orders is not None or every:
            how, orders = launch_options(chosen), chosen.class_orders
            return comparison.compare(pairs, rest, chosen.seeds, console, how, n_orders=orders, table=chosen.table)
        if chosen.table is not None:
            raise UsageError(
                f"--table {chosen.table} is of a comparison, and this is one run; leave it out, or add --seeds."
            )
        if chosen.launcher is not None:
            raise UsageError(f"--launcher {chosen.launcher} is for several runs; leave it out, or add --seeds N.")
        runner.run_pair(pairs[0], options.parse_options(pairs[0], rest), console)
    return True


def sweep(argv: list[str]) -> bool:
    """Try values of options of one pair, then run the best ones."""
    parser = CommandParser("sweep", add_help=False)
    parser.add_argument(
        "space", nargs="*", metavar="NAME=VALUES", help="lr=log:1e-3..1 momentum=0,0.9, or a YAML file of such lines"
    )
    parser.add_argument("--trials", type=whole(1, MOST_RUNS), metavar="N", help="configurations to try (default: 20)")
    parser.add_argument("--protocol", metavar="TASKS", help="all_tasks, or first_2_tasks, .. (default: all_tasks)")
    parser.add_argument("--objectives", metavar="NAMES", help="accuracy, or accuracy,flops (default: accuracy)")
    add_selection(parser)
    chosen, rest, in_file = _with_file(argv, parser)
    if chosen.help:
        print(parser.format_help())
        if not (chosen.setting and chosen.method):
            return True
    _check_names(chosen, rest)
    from redwood.experiments import options
    from redwood.experiments.pairs import select_pairs

    pairs, _ = select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(options.pair_help(pairs[0]))
        return True
    if len(pairs) > 1:
        raise UsageError(
            f"sweep tries options of one pair, but {len(pairs)} are chosen; name one --setting and one --method."
        )
    for cls in pairs[0].load():
        for name in {f.name for f in fields(cls)} & {"trials", "protocol", "objectives"}:
            raise UsageError(f"{cls.__name__} and sweep both have an option --{name}; rename the field of the class.")
    with _told_of_file(chosen, in_file):
        options.check_arguments(pairs, rest)
        from redwood.engine.terminal import Terminal
        from redwood.experiments.launchers.choice import launch_options
        from redwood.experiments.sweeps.sweep import Wanted, start_sweep

        wanted = Wanted(
            *(chosen.space, chosen.trials, chosen.protocol, chosen.objectives),
            *(chosen.seeds, chosen.class_orders, chosen.trust),
        )
        return start_sweep(pairs[0], rest, wanted, Terminal(), launch_options(chosen), table=chosen.table)


def _with_file(argv: list[str], parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str], Sequence[str]]:
    """Parse what to run.

    Returns:
        The options that choose it; all others; and those of `--config`, `--preset` or `--suite`, which are among them.
    """
    chosen, rest = parse_selection(argv, parser)
    if chosen.config is None and chosen.preset is None and chosen.suite is None:
        return chosen, rest, []
    from redwood.experiments import config_file, presets
    from redwood.experiments.suites import suite_arguments

    given = option_names(argv)
    if chosen.config is not None:
        in_file = config_file.read_arguments(Path(chosen.config), given, trusted=chosen.trust)
    elif chosen.preset is not None:
        in_file = presets.announce(presets.find_preset(chosen.preset))
    else:
        in_file = suite_arguments(chosen.suite, chosen.setting, chosen.method, given, trusted=chosen.trust)
    first = next((at for at, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    return *parse_selection([*argv[:first], *in_file, *argv[first:]], parser), in_file


@contextmanager
def _told_of_file(chosen: argparse.Namespace, in_file: Sequence[str]) -> Iterator[None]:
    """Say of an unknown option that it comes from a file, and what to do about it."""
    try:
        yield
    except UnknownOptionError as error:
        if error.option not in {argument.partition("=")[0] for argument in in_file}:
            raise
        where = f"in {chosen.config}; remove that line if it is another method's"
        if chosen.preset is not None:
            where = f"by the preset {chosen.preset}; leave --setting and --method to it"
        elif chosen.suite is not None:
            where = f"by the suite {chosen.suite}; choose another --method, or a --setting of reinforcement learning"
        raise UsageError(f"{error} It is set {where}.") from None


def _check_names(chosen: argparse.Namespace, rest: list[str]) -> None:
    """Refuse what needs no class to be refused: that takes seconds to import.

    Raises:
        RedwoodError: If the setting or the method is missing, they do not go together, or the data is not there.
    """
    if not (chosen.setting and chosen.method):
        refuse_old(option_names(rest))
        missing = "--setting" if not chosen.setting else "--method"
        raise UsageError(f"{missing} is missing; for example --setting class_incremental --method rehearsal.")
    reason = stored_reason(chosen.setting, chosen.method)
    if reason is not None:
        raise NotApplicableError(reason)
    if chosen.help:
        return
    # Another setting may look for data in another folder.
    if chosen.setting == "all" or SETTINGS.keys() >= set(chosen.setting.split(",")):
        refuse_absent_data(rest)
    _tell_imports(rest)


def _tell_imports(rest: list[str]) -> None:
    """Print the first line of a run, as its libraries take seconds to import."""
    number = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"  # torchrun and SLURM start several
    if "torch" not in sys.modules and "quiet" not in option_names(rest) and number == "0":
        print("loading torch and Lightning", flush=True)


def _parser_of_folder(command: str, holds: str, epilog: str | None = None) -> CommandParser:
    """The parser of a command for what lies in a folder."""
    parser = CommandParser(command, epilog=epilog)
    parser.add_argument("folder", metavar="DIR", type=Path, help=f"folder of {holds}")
    parser.add_argument("--trust", action="store_true", help="run the code that the folder names")
    return parser


def resume(argv: list[str]) -> bool:
    """Go on with the run, the comparison, the sweep or the bench in a folder."""
    parser = _parser_of_folder(
        "resume",
        "a run, comparison, sweep or bench",
        f"Options that may change: {_listed(MAY_BE_GIVEN)}. "
        f"Not of several runs: {_listed(MAY_BE_GIVEN - MAY_BE_GIVEN_TO_ALL)}. "
        "The help of the pair, --setting S --method M --help, says what each does.",
    )
    add_launching(parser.add_argument_group("of several runs"))
    parser.add_argument("--compare", metavar="DIR", help="of a bench: compare with an earlier one in this folder")
    given, changes = parser.parse_known_args(argv)
    check_launching(given)
    known = {f"--{name}": argparse.Action([], name, nargs="*") for name in MAY_BE_GIVEN}
    refuse_unknown(changes, known | parser._option_string_actions, "the command resume")
    _tell_imports(changes)
    from redwood.engine.terminal import Terminal
    from redwood.experiments import comparison, plan, runner
    from redwood.experiments.bench import run as benches
    from redwood.experiments.bench import suite
    from redwood.experiments.launchers.choice import launch_options
    from redwood.experiments.sweeps import plan as sweep_plan
    from redwood.experiments.sweeps import sweep as sweeps

    folder, trusted, console = given.folder, given.trust, Terminal()
    what, takes = "a run", MAY_BE_GIVEN
    if suite.is_bench(folder):
        what, takes = "a bench", frozenset({"jobs", "compare"})
    elif plan.is_comparison(folder) or sweep_plan.is_sweep(folder):
        what, takes = "several runs", MAY_BE_GIVEN_TO_ALL | {"jobs", "launcher", "slurm", "table"}
    for name in sorted(option_names(argv) - takes - {"trust"}):
        raise UsageError(f"resume {folder} goes on with {what}, which --{name} does not suit; leave it out.")
    if what == "a bench":
        return benches.resume_bench(folder, console, given.jobs, baseline=given.compare, trusted=trusted)
    if what == "a run":
        runner.resume_run(folder, console, changes, trusted=trusted)
        return True
    go_on = sweeps.resume_sweep if sweep_plan.is_sweep(folder) else comparison.resume_comparison
    return go_on(folder, console, launch_options(given), changes, trusted=trusted, table=given.table)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"--{name}" for name in sorted(names))


def predict(argv: list[str]) -> bool:
    """Predict new samples with a finished run."""
    parser = _parser_of_folder("predict", "a run, or of what export has written")
    parser.add_argument(
        "--dataset",
        metavar="D",
        required=True,
        help="what to predict: .npz or .h5 file with an array x, image or folder of them, or name of a data set",
    )
    parser.add_argument("--data_dir", metavar="DIR", default="data", help="folder of data sets (default: data)")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="of a data set by name")
    parser.add_argument("--out", metavar="FILE", default="predictions.csv", help="(default: predictions.csv)")
    parser.add_argument("--scores", action="store_true", help="write the scores of all classes, too")
    parser.add_argument(
        "--task_id", metavar="T", type=whole(0, MOST_RUNS), help="of all samples, where the setting tells it at test"
    )
    parser.add_argument("--accelerator", metavar="NAME", default="auto", help="auto (the default), cpu, gpu, cuda, mps")
    given = parser.read(argv)
    refuse_absent_data(argv, or_image=True)
    from redwood.experiments.trained import predict as trained

    trained.predict(**vars(given))
    return True


def extend(argv: list[str]) -> bool:
    """Learn further data with a finished run."""
    parser = _parser_of_folder(
        "extend",
        "a run",
        "The options are those of the run's setting and method: extend DIR --help lists them.",
    )
    config = Path(argv[0] if argv else "") / "config.yaml"
    if config.is_file() and {"-h", "--help"} & set(argv):
        from redwood.experiments.trained.extend import extended_help

        print(extended_help(config))
        return True
    given, rest = parser.parse_known_args(argv)  # data may lie in the run's own `data_dir`, which is read later
    for name in sorted(option_names(rest).intersection(selection_names())):
        raise UsageError(f"extend goes on with the setting and the method of {given.folder}, once; leave --{name} out.")
    from redwood.experiments.trained import extend as trained

    trained.extend(given.folder, rest, trusted=given.trust)
    return True


def export(argv: list[str]) -> bool:
    """Write a finished run for other programs."""
    parser = _parser_of_folder("export", "a run")
    forms = ("safetensors", "onnx", "torch_export")
    parser.add_argument(
        "--format", choices=forms, default=forms[0], help="redwood.load reads safetensors; others need no redwood"
    )
    parser.add_argument("--out", metavar="DIR", help="(default: the folder of the run with the format behind its name)")
    given = parser.read(argv)
    from redwood.experiments.trained import export as trained

    trained.export(given.folder, given.format, given.out, trusted=given.trust)
    return True


def report(argv: list[str]) -> bool:
    """Write one page on finished runs, comparisons and sweeps."""
    parser = CommandParser("report")
    parser.add_argument("folders", nargs="+", metavar="DIR", type=Path, help="a run, comparison or sweep")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html in the folder)")
    given = parser.read(argv)
    from redwood.engine.terminal import Terminal
    from redwood.experiments.report import folders

    folders.report(given.folders, given.out, Terminal())
    return True


def bench(argv: list[str]) -> bool:
    """Run a suite, or report on a stored run."""
    parser = CommandParser("bench")
    parser.add_argument("suite", metavar="SUITE", help="smoke, full, a YAML file, or the folder of an earlier bench")
    parser.add_argument("--run_dir", metavar="DIR", help="folder to write to (default: a new one in runs/)")
    parser.add_argument("--select", metavar="NAMES", help="run only the benches of these names and tags: a,b")
    parser.add_argument("--jobs", type=whole(1, MOST_PROCESSES), metavar="N", help="N runs at once (default: 1)")
    parser.add_argument("--compare", metavar="DIR", help="compare scores and speed with an earlier bench")
    parser.add_argument("--trust", action="store_true", help="run the code that the suite names")
    given = parser.read(argv)
    from redwood.engine.terminal import Terminal
    from redwood.experiments.bench import run as benches

    return benches.bench(console=Terminal(), **vars(given))


def show(argv: list[str]) -> bool:
    """Show the tree of settings, the presets, or a module library: the command `list`."""
    parser = CommandParser("list")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--presets", action="store_true", help="the presets, with targets and status")
    what.add_argument("--library", metavar="DIR", help="the networks of the module library in this folder")
    parser.add_argument("--json", action="store_true", help="as JSON")
    given = parser.read(argv)
    if given.library is not None:
        from redwood.experiments.library_listing import print_library

        print_library(given.library, given.json)
    elif given.presets:
        from redwood.experiments.presets import print_presets

        print_presets(given.json)
    else:
        from redwood.experiments.tree_view import print_settings

        print_settings(given.json)
    return True


def advise(argv: list[str]) -> bool:
    """Say how many samples of each slice to collect."""
    if "--help" not in argv:
        refuse_absent_data(argv)
        _tell_imports(argv)
    from redwood.experiments import advice

    advice.advise(argv)
    return True


FUNCTIONS: dict[str, Callable[[list[str]], bool]] = {
    one.__name__: one for one in (resume, predict, extend, export, report, bench, sweep, advise)
} | {"list": show}

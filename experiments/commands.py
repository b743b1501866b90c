"""The commands: a run or a comparison of `--setting S --method M`, and the words beside it.

Each takes its part of the command line; one that runs something returns whether all has succeeded. Slow libraries are
imported only after the command's own options are read, so that its help and its errors come at once.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

from redwood import __version__, experiments
from redwood.core.branches import OF_COMMANDS, branch_commands
from redwood.core.errors import NotApplicableError, nearest
from redwood.core.peer_words import answer
from redwood.core.registry import look_up
from redwood.engine.may_change import MAY_CHANGE
from redwood.experiments.command_line import arguments, own_names
from redwood.experiments.command_line.arguments import (
    CommandParser,
    UsageError,
    option_names,
    refuse_absent_data,
    whole,
)
from redwood.experiments.stored_tree import stored_reason, stored_tree
from redwood.methods.table import method_names
from redwood.settings.table import SETTINGS, setting_names

# The options of a run that can be given when it goes on; another one is a command.
MAY_BE_GIVEN = MAY_CHANGE - {"extends"}
# Those of several runs; results of another number of workers are not compared with the others.
MAY_BE_GIVEN_TO_ALL = MAY_BE_GIVEN - {"workers", "nodes", "devices"}


def run(argv: list[str]) -> bool:
    """Run one pair, or compare several."""
    argv = own_names.with_own_names(argv)
    chosen, rest, in_file = with_file(argv)
    if chosen.version:
        return _print_version(argv)
    if chosen.help and not (chosen.setting and chosen.method):
        if {chosen.setting, chosen.method} & {*setting_names(), *method_names()}:
            return _help_of_one(chosen, argv)
        print(arguments.general_help(setting_names(), method_names()))
        return True
    check_names(chosen, rest, argv)
    selected, reasons = experiments.pairs.select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(experiments.options.pair_help(selected[0], rest, everything=chosen.help == "all"))
        return True
    own = experiments.options.with_own_options(selected, argv)
    if own != argv:
        return run(own)
    with told_of_file(chosen, in_file):
        if len(selected) == 1:  # training libraries take seconds to import, which a wrong option does not wait for
            experiments.options.check_arguments(selected, rest)
        console = _terminal()
        tell_left_out(chosen, reasons, console)
        if is_for_several(selected, chosen):
            how, orders = experiments.choice.launch_options(chosen), chosen.class_orders
            return experiments.compare.compare(
                selected, rest, chosen.seeds, console, how, n_orders=orders, table=chosen.table
            ).complete
        refuse_launching(chosen)
        experiments.runner.run_pair(selected[0], experiments.options.parse_options(selected[0], rest), console)
    return True


def _help_of_one(chosen: argparse.Namespace, argv: list[str]) -> bool:
    """Print what a setting or a method alone needs, and the options of an example of a pair."""
    pair = own_names.words_of_run([], chosen.setting or "", chosen.method or "")
    example = arguments.given_texts(shlex.split(pair))
    tree = (stored_tree() or {}).values()
    if chosen.setting:
        missing, what = "method", f"--setting {chosen.setting}; these apply"
        known = next((record["methods"] for record in tree if record["key"] == chosen.setting), [])
    else:
        missing, what = "setting", f"--method {chosen.method}; it applies under these"
        known = [record["key"] for record in tree if chosen.method in record["methods"]]
    listed = ", ".join(known) or "see the command list"
    print(f"Add --{missing} to {what}: {listed}.\nAs an example, the options of {pair}:\n")
    return run([f"--{missing}", example[missing], *argv])


def check_word(word: str, others: Sequence[str]) -> None:
    """Raise `UsageError` unless a word is a command, and what it is about comes before its options."""
    own_names.refuse_name(word, others)
    arguments.check_word(word, others)


def _print_version(argv: list[str]) -> bool:
    if len(argv) > 1:
        raise UsageError(f"--version goes alone; leave {next(a for a in argv if a != '--version')} out.")
    print(__version__)
    return True


def tell_left_out(chosen: argparse.Namespace, reasons: Iterable[str], console: "experiments.terminal.Terminal") -> None:
    """Print why pairs are left out that were chosen by name."""
    for reason in () if "all" in (chosen.setting, chosen.method) else dict.fromkeys(reasons):
        console.print(f"left out: {reason}", soft_wrap=True, markup=False, highlight=False)


def is_for_several(pairs: Sequence[object], chosen: argparse.Namespace) -> bool:
    """True if the options ask for a comparison, which may have several runs."""
    every = "all" in (chosen.setting, chosen.method)
    return len(pairs) > 1 or chosen.seeds > 1 or chosen.class_orders is not None or every


def refuse_launching(chosen: argparse.Namespace) -> None:
    """Raise `UsageError` for options of several runs, where there is one."""
    for name in ("table", "launcher", "slurm", "ray"):
        value = getattr(chosen, name)
        if value is not None:
            written = value if isinstance(value, str) else " ".join(value)
            workers = "" if name == "table" else "; for the workers of one run see docs/distributed.md"
            raise UsageError(f"--{name} {written} is for several runs; leave it out, or add --seeds N{workers}.")


def sweep(argv: list[str]) -> bool:
    """Try values of options of one pair, then run the best ones."""
    parser = CommandParser("sweep", add_help=False)
    values = "values of an option: a list (momentum=0,0.9) or a range (lr=log:1e-3..1); or a YAML file of such lines"
    parser.add_argument("space", nargs="*", metavar="NAME=VALUES", help=values)
    number = whole(1, arguments.MOST_RUNS)
    parser.add_argument("--trials", type=number, metavar="N", help="configurations to try (default: 20)")
    tasks = "score trials on all tasks, or on the first N: first_N_tasks (default: all_tasks)"
    parser.add_argument("--protocol", metavar="TASKS", help=tasks)
    parser.add_argument(
        "--objectives", metavar="NAMES", help="what to optimise: accuracy, or accuracy,flops (default: accuracy)"
    )
    arguments.add_selection(parser, one_pair=True)
    argv = own_names.with_own_names(argv)
    chosen, rest, in_file = with_file(argv, parser)
    if chosen.help:
        print(parser.format_help())
        if not (chosen.setting and chosen.method):
            return True
    check_names(chosen, rest, argv)
    selected, _ = experiments.pairs.select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(experiments.options.pair_help(selected[0], rest, everything=chosen.help == "all"))
        return True
    if len(selected) > 1:
        raise UsageError(f"sweep tries options of one pair, but {len(selected)} are chosen; name one --method.")
    own = experiments.options.with_own_options(selected, argv)
    if own != argv:
        return sweep(own)
    experiments.options.refuse_taken(selected[0], {"trials", "protocol", "objectives"}, "sweep")
    with told_of_file(chosen, in_file):
        experiments.options.check_arguments(selected, rest)
        what = (chosen.space, chosen.trials, chosen.protocol, chosen.objectives)
        wanted = experiments.sweep.Wanted(*what, chosen.seeds, chosen.class_orders, chosen.trust)
        return experiments.sweep.start_sweep(
            selected[0], rest, wanted, _terminal(), experiments.choice.launch_options(chosen), table=chosen.table
        )


def with_file(
    argv: list[str], parser: argparse.ArgumentParser | None = None
) -> tuple[argparse.Namespace, list[str], Sequence[str]]:
    """Return the options that choose the runs; all other options; and, of these, the options of a file."""
    chosen, rest = arguments.parse_selection(argv, parser)
    if chosen.config is None and chosen.preset is None and chosen.suite is None:
        return chosen, rest, []
    given = arguments.given_texts(argv)
    if chosen.config is not None:
        in_file = experiments.config_file.read_arguments(Path(chosen.config), given, trusted=chosen.trust)
    elif chosen.preset is not None:
        in_file = experiments.presets.announce(experiments.presets.find_preset(chosen.preset))
    else:
        in_file = experiments.suites.suite_arguments(
            chosen.suite, chosen.setting, chosen.method, given, trusted=chosen.trust
        )
    first = next((at for at, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    return *arguments.parse_selection([*argv[:first], *in_file, *argv[first:]], parser), in_file


@contextmanager
def told_of_file(chosen: argparse.Namespace, in_file: Sequence[str]) -> Iterator[None]:
    """Say of an unknown option which file has set it."""
    try:
        yield
    except arguments.UnknownOptionError as error:
        wrong = [option for option in error.options if option in {part.partition("=")[0] for part in in_file}]
        if not wrong:
            raise
        kind = next(name for name in ("config", "preset", "suite") if getattr(chosen, name) is not None)
        source = f"--{kind} {getattr(chosen, kind)}"
        raise UsageError(
            f"{error} {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} set by {source}; leave --setting, "
            "--method and the choice of its parts to it."
        ) from None


def check_names(chosen: argparse.Namespace, rest: list[str], written: list[str]) -> None:
    """Raise `RedwoodError` for what needs no class to be refused: classes take seconds to import.

    Args:
        chosen: The options that choose the runs.
        rest: All other options.
        written: The command line without the options of files.
    """
    if not (chosen.setting and chosen.method):
        arguments.refuse_old(option_names(rest))
        own_names.refuse_missing(chosen.setting, chosen.method, written)
    reason = stored_reason(chosen.setting, chosen.method)
    if reason is not None:
        raise NotApplicableError(reason)
    if not chosen.help:
        # Another setting may look for data in another folder.
        if chosen.setting == "all" or SETTINGS.keys() >= set(chosen.setting.split(",")):
            refuse_absent_data(rest)
        _tell_imports(rest)


def _terminal() -> "experiments.terminal.Terminal":
    """Return a `Terminal`; rich is imported once there is something to print."""
    return experiments.terminal.Terminal()


def _tell_imports(rest: list[str]) -> None:
    """Print the first line of a run, as its libraries take seconds to import."""
    if "torch" not in sys.modules and "quiet" not in option_names(rest):
        arguments.tell("loading torch and Lightning")


def _parser_of_folder(command: str, holds: str, epilog: str | None = None) -> CommandParser:
    """The parser of a command for what lies in a folder."""
    parser = CommandParser(command, epilog=epilog)
    parser.add_argument("folder", metavar="DIR", type=Path, help=f"folder of {holds}")
    arguments.add_trust(parser, "the folder")
    return parser


RUN, SEVERAL, BENCH = "a run", "several runs", "a bench"


def read_resume(argv: list[str], lost: Collection[str] = ()) -> tuple[argparse.Namespace, list[str], str]:
    """Read the command line of `resume`.

    Args:
        argv: The arguments.
        lost: Options of the folder that files cannot hold; they may be given, too.

    Returns:
        The options of the command, those that change, and what goes on: `RUN`, `SEVERAL` or `BENCH`.

    Raises:
        UsageError: If an option cannot be given to what is in the folder.
    """
    parser = _parser_of_folder(
        "resume",
        "a run, comparison, sweep or bench",
        f"You can give these options a new value: {_listed(MAY_BE_GIVEN)}. "
        f"Only for a single run: {_listed(MAY_BE_GIVEN - MAY_BE_GIVEN_TO_ALL)}. "
        "To read what they do: --setting S --method M --help.",
    )
    arguments.add_launching(parser.add_argument_group("for several runs"))
    parser.add_argument(
        "--compare", metavar="DIR2", help="for a bench: also compare it with the earlier bench in folder DIR2"
    )
    given, changes = parser.parse_known_args(argv)
    for name in sorted(option_names(changes) - MAY_BE_GIVEN - {*lost}):
        arguments.refuse_old([name])
        further = ", or learn further data by extend" if name in ("dataset", "nb_tasks") else ""
        raise UsageError(
            f"resume goes on with what was started, so that --{name} stays as it is; leave it out{further}. Options "
            f"that may change: {_listed(MAY_BE_GIVEN)}."
        )
    known = {f"--{name}": argparse.Action([], name, nargs="*") for name in MAY_BE_GIVEN.union(lost)}
    arguments.refuse_unknown(changes, known | parser._option_string_actions, "the command resume")
    _tell_imports(changes)
    folder, what, takes = given.folder, RUN, MAY_BE_GIVEN
    if experiments.bench_suite.is_bench(folder):
        what, takes = BENCH, frozenset({"jobs", "compare"})
    elif experiments.plan.is_comparison(folder) or experiments.sweep_plan.is_sweep(folder):
        what, takes = SEVERAL, MAY_BE_GIVEN_TO_ALL | {"jobs", "launcher", "slurm", "ray", "table"}
    for name in sorted(option_names(argv) - takes - {"trust", *lost}):
        raise UsageError(f"resume {folder} goes on with {what}, which --{name} does not suit; leave it out.")
    return given, changes, what


def resume(argv: list[str]) -> bool:
    """Continue the run, the comparison, the sweep or the bench in a folder."""
    given, changes, what = read_resume(argv)
    folder, trusted, console = given.folder, given.trust, _terminal()
    if what == BENCH:
        return experiments.bench_run.resume_bench(folder, console, given.jobs, baseline=given.compare, trusted=trusted)
    if what == RUN:
        experiments.runner.resume_run(folder, console, changes, trusted=trusted)
        return True
    how = experiments.choice.launch_options(given)
    if experiments.sweep_plan.is_sweep(folder):
        return experiments.sweep.resume_sweep(folder, console, how, changes, trusted=trusted, table=given.table)
    return experiments.compare.resume_comparison(
        folder, console, how, changes, trusted=trusted, table=given.table
    ).complete


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"--{name}" for name in sorted(names))


def predict(argv: list[str]) -> None:
    """Predict new samples with a finished run."""
    parser = _parser_of_folder("predict", "a run, or of what export has written")
    add = parser.add_argument
    kinds = ".npz or .h5 file with an array x, .csv or .parquet table, image or folder of them, or name of a data set"
    add("--dataset", metavar="D", required=True, help=f"what to predict: {kinds}")
    add("--data_dir", metavar="DIR", default="data", help="folder of data sets")
    add("--split", choices=("test", "train"), default="test", help="samples of a data set by name")
    add("--out", metavar="FILE", default="predictions.csv", help="table to write")
    add("--scores", action="store_true", help="write the scores of all classes, too")
    task = whole(0, arguments.MOST_RUNS)
    add("--task_id", metavar="T", type=task, help="task of all samples, where the setting tells it at test")
    add("--accelerator", metavar="NAME", default="auto", help="auto, cpu, gpu, cuda or mps")
    given = parser.read(argv)
    refuse_absent_data(argv, or_image=True)
    experiments.predict.predict(**vars(given))


def extend(argv: list[str]) -> None:
    """Learn further data with a finished run."""
    parser = _parser_of_folder(
        "extend",
        "a run",
        "The options are those of the run's setting and method; extend DIR --help lists them.",
    )
    config = Path(argv[0] if argv else "") / "config.yaml"
    if config.is_file() and {"-h", "--help"} & set(argv):
        print(experiments.extend.extended_help(config))
        return
    if {"-h", "--help"} & set(argv):
        parser.add_argument("--dataset", metavar="D", help="the further data, as for a run; required")
        parser.add_argument("--run_dir", metavar="DIR", help="folder of the new run (default: a new one in runs/)")
    given, rest = parser.parse_known_args(argv)  # data may lie in the run's own `data_dir`, which is read later
    for name in sorted(option_names(rest).intersection(arguments.selection_names())):
        raise UsageError(f"extend goes on with the setting and the method of {given.folder}, once; leave --{name} out.")
    experiments.extend.extend(given.folder, rest, trusted=given.trust)


def export(argv: list[str]) -> None:
    """Write a finished run for other programs."""
    parser = _parser_of_folder("export", "a run")
    forms = ("safetensors", "onnx", "torch_export")
    parser.add_argument("--format", choices=forms, default=forms[0], help="safetensors is for redwood.load")
    parser.add_argument("--out", metavar="DIR", help="(default: the folder of the run with the format behind its name)")
    given = parser.read(argv)
    experiments.export.export(given.folder, given.format, given.out, trusted=given.trust)


def report(argv: list[str]) -> None:
    """Write one page on finished runs, comparisons and sweeps; a table and figures for a paper beside it."""
    parser = CommandParser("report")
    parser.add_argument("folders", nargs="+", metavar="DIR", type=Path, help="a run, comparison or sweep")
    page = "the page, NAME.html, or a folder for it (default: the folder DIR)"
    parser.add_argument("--out", type=Path, metavar="PATH", help=page)
    arguments.add_table(parser)
    forms = ("pdf", "svg", "png")
    parser.add_argument("--figures", choices=forms, help="write the figures beside the page, too: pdf, svg or png")
    arguments.add_trust(parser, "a folder")
    given = parser.read(argv)
    experiments.reporting.report(given.folders, given.out, _terminal(), table=given.table, figures=given.figures)


def diff(argv: list[str]) -> bool:
    """Name the first cause why two results differ."""
    parser = CommandParser("diff", epilog="The exit code is 0 if the results are equal, 1 if they differ, else 2.")
    for which in ("first", "second"):
        parser.add_argument(which, metavar="RUN", type=Path, help=f"folder of the {which} run, or its results.json")
    given = parser.read(argv)
    return experiments.diff.diff(given.first, given.second, _terminal())


def bench(argv: list[str]) -> bool:
    """Run a suite, or report on a stored run."""
    parser = CommandParser("bench")
    parser.add_argument("suite", metavar="SUITE", help="smoke, full, a YAML file, or the folder of an earlier bench")
    parser.add_argument("--run_dir", metavar="DIR", help="folder to write to (default: a new one in runs/)")
    parser.add_argument("--select", metavar="NAMES", help="run only the benches of these names and tags: a,b")
    number = whole(1, arguments.MOST_PROCESSES)
    parser.add_argument("--jobs", type=number, metavar="N", help="N runs at once (default: 1)")
    parser.add_argument("--compare", metavar="DIR", help="compare scores and speed with an earlier bench")
    arguments.add_trust(parser, "the suite")
    given = parser.read(argv)
    return experiments.bench_run.bench(console=_terminal(), **vars(given))


def show(argv: list[str]) -> None:
    """Show the tree of settings, one of them, methods, data sets or presets: the command `list`."""
    parser = CommandParser("list")
    key = "a setting, also as FILE.py:Name; a method, or a family of methods (default: all settings)"
    parser.add_argument("key", nargs="?", metavar="KEY", help=key)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--methods", action="store_true", help="the methods by family, with a line on each")
    what.add_argument("--datasets", action="store_true", help="the data sets that come with redwood")
    what.add_argument("--presets", action="store_true", help="the presets, with targets and status")
    hooks = "what a class below this method may override, with a line on each hook"
    what.add_argument("--hooks", metavar="METHOD", help=hooks)
    parser.add_argument("--json", action="store_true", help="as JSON")
    given = parser.read(argv)
    for name in ("methods", "datasets", "presets", "hooks"):
        if getattr(given, name) and given.key:
            raise UsageError(f"list --{name} shows no {given.key}; leave {given.key} or --{name} out.")
    if given.hooks and given.json:
        raise UsageError("list --hooks is a text; leave --json out.")
    if given.hooks:
        _tell_imports(argv)
        experiments.hooks_view.print_hooks(given.hooks)
    elif given.presets:
        experiments.presets.print_presets(given.json)
    elif given.methods:
        experiments.tree_view.print_methods(given.json)
    elif given.datasets:
        experiments.tree_view.print_data_sets(given.json)
    else:
        _show_key(given.key, given.json)


def _show_key(key: str | None, as_json: bool) -> None:
    """Print a setting, a method or a family of methods, or all settings; each name as other libraries write it, too."""
    view = experiments.tree_view
    if key is None or ":" in key:
        view.print_settings(as_json, key)
        return
    settings, methods, families = setting_names(), method_names(), view.families()
    setting, method = own_names.own_name("setting", key, settings), own_names.own_name("method", key, methods)
    family = nearest(key, families)
    if setting in settings:
        view.print_settings(as_json, setting)
    elif method in methods:
        view.print_method(method, as_json)
    elif family is not None:
        view.print_families({family: families[family]}, as_json)
    else:
        meant = answer("setting", key) or answer("method", key)
        near = nearest(key, [*settings, *methods])
        hint = f"did you mean {near}?" if near else "see list, list --methods and list --datasets."
        raise UsageError(meant or f"There is no setting, method or family of methods named {key!r}; {hint}")


def completion(argv: list[str]) -> None:
    """Print the completion of the command line for a shell."""
    parser = CommandParser("completion")
    parser.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "tcsh"), help="bash, zsh or tcsh")
    print(experiments.completion.script_for(parser.read(argv).shell))


def of_branch(word: str, argv: list[str]) -> bool | None:
    """Run a command that a branch adds."""
    command = branch_commands()[word]
    if command.reads_data and not {"-h", "--help"} & set(argv):
        refuse_absent_data(argv)
        _tell_imports(argv)
    made = cast("type", look_up("command", word, {}, OF_COMMANDS))
    done: bool | None = experiments.options.read_command(word, made, argv)()
    return done


FUNCTIONS: Mapping[str, Callable[[list[str]], bool | None]] = {
    one.__name__: one for one in (resume, predict, extend, export, report, diff, bench, sweep, completion)
} | {"list": show}


def function_of(word: str) -> Callable[[list[str]], bool | None]:
    """Return the function that runs a command."""
    return FUNCTIONS.get(word) or partial(of_branch, word)

"""The options that choose what to run; they are known before any setting or method is loaded."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

from redwood.core.errors import RedwoodError
from redwood.settings.data.sources import IMAGE_FILES, refuse_absent

# Similarity from which an option is suggested for an unknown one: at .6, `--epsilon` is like `--version`.
ALIKE = 0.7
# Runs that a comparison or a sweep may have, and processes that it may start.
MOST_RUNS = 100_000
MOST_PROCESSES = 1024


def program() -> str:
    """The name of the command line in messages, as the user calls it: `cli.py`, `redwood` or `python -m redwood`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "redwood":
        return "python -m redwood"
    return "redwood" if called.name == "redwood" else "cli.py"


def invocation() -> str:
    """What a user types to start the command line."""
    return "python cli.py" if program() == "cli.py" else program()


class UsageError(RedwoodError):
    """The command line is not as it should be."""


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, raised instead of printed with the usage."""

    def error(self, message: str) -> NoReturn:
        """Raise the message as a sentence."""
        raise UsageError(f"{message[0].upper()}{message[1:]}; see --help.")


def _table_format(text: str) -> str:
    """What `--table` takes: a format, and behind a colon the metric that the table is of."""
    if text.partition(":")[0] not in ("latex", "markdown"):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from latex, markdown, latex:METRIC)")
    return text


def add_selection(parser: argparse.ArgumentParser, *, trials: bool = True) -> None:
    """Add the options that choose what to run; `--trials` may be left out, as some methods have one of their own."""
    group = parser.add_argument_group("what to run")
    group.add_argument("--setting", metavar="KEY", help="setting, or several: a,b or all; see --list")
    group.add_argument(
        "--method", metavar="KEY", help="method, or several: a,b or all; a+b is both as one; or file.py:Class"
    )
    group.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with N seeds: mean and deviation")
    group.add_argument(
        "--class_orders",
        type=int,
        metavar="N",
        help="N orders of the classes, with --seeds seeds each (default: an order from each seed)",
    )
    group.add_argument(
        "--table",
        type=_table_format,
        metavar="FORMAT",
        help="print and write a comparison for a paper: latex or markdown, of one metric: latex:forgetting",
    )
    group.add_argument("--bench", metavar="SUITE", help="run a suite with expectations: smoke, full or a YAML file")
    group.add_argument("--compare", metavar="DIR", help="with --bench: compare scores and speed with an earlier run")
    group.add_argument("--jobs", type=int, metavar="N", help="N runs at once (default: one per core, or per GPU)")
    group.add_argument(
        "--launcher",
        choices=("here", "pool", "slurm"),
        help="where several runs take place: in this process, in processes of this machine (the default), or on SLURM",
    )
    group.add_argument("--slurm", nargs="+", metavar="KEY=VALUE", help="options of sbatch, such as partition=a mem=8G")
    group.add_argument(
        "--sweep",
        nargs="*",
        metavar="NAME=VALUES",
        help="try values of options, scored on held-out samples: lr=log:1e-3..1 momentum=0,0.9, or a YAML file",
    )
    if trials:
        group.add_argument("--trials", type=int, metavar="N", help="configurations that --sweep tries (default: 20)")
    group.add_argument(
        "--protocol", metavar="TASKS", help="--sweep on: all_tasks, or first_2_tasks, .. (default: all_tasks)"
    )
    group.add_argument(
        "--objectives", metavar="NAMES", help="what --sweep goes by: accuracy, or accuracy,flops (default: accuracy)"
    )
    group.add_argument("--config", metavar="FILE", help="options from a YAML file; flags override them")
    group.add_argument("--preset", metavar="NAME", help="options of a published result; flags override them")
    group.add_argument(
        "--suite", metavar="NAME", help="environments, budget and agent's options of a benchmark, or FILE"
    )
    group.add_argument("--extend", metavar="DIR", help="learn further data with the run in this folder: --dataset D")
    group.add_argument("--resume", metavar="DIR", help="go on with the run, comparison or sweep in this folder")
    group.add_argument("--predict", metavar="DIR", help="predict with the run in this folder: --dataset D --out FILE")
    group.add_argument("--export", metavar="DIR", help="write the run in this folder for other programs: --format F")
    group.add_argument(
        "--report", nargs="+", metavar="DIR", help="one page on the runs and comparisons in these folders: --out FILE"
    )
    group.add_argument(
        "--trust", action="store_true", help="run the code that the folder or the file of --config names"
    )
    group.add_argument(
        "--list",
        action="store_true",
        help="show the tree of settings and the methods of each; with --library DIR, the modules in that folder",
    )
    group.add_argument(
        "--advise", action="store_true", help="say how many samples of each slice to collect: --dataset D --budget B"
    )
    group.add_argument("--presets", action="store_true", help="with --list: the presets, targets and status")
    group.add_argument("--json", action="store_true", help="with --list: as JSON")
    group.add_argument("--version", action="store_true", help="show the version")
    group.add_argument("--help", "-h", action="store_true", help="show this help; with a pair, its options too")


def parse_selection(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into what to run and the options of the run."""
    parser = OneSentenceParser(prog=program(), add_help=False, allow_abbrev=False)
    add_selection(parser)
    chosen, rest = parser.parse_known_args(argv)
    for option, most in (("seeds", MOST_RUNS), ("class_orders", MOST_RUNS), ("jobs", MOST_PROCESSES)):
        if getattr(chosen, option) is not None:
            _check_count(chosen, option, most)
    if chosen.launcher == "here" and chosen.jobs not in (None, 1):
        raise UsageError(f"--launcher here runs one job after the other; leave --jobs {chosen.jobs} out.")
    if chosen.slurm and chosen.launcher != "slurm":
        raise UsageError(f"--slurm {chosen.slurm[0]} is for --launcher slurm; add it.")
    _check_sweep(chosen, rest)
    files = [entry for entry in chosen.sweep or () if "=" not in entry]
    files += [chosen.bench, chosen.config, chosen.suite, chosen.resume, chosen.extend, chosen.predict, chosen.export]
    if chosen.trust and not any(files) and not any(map(_is_file, rest)):
        raise UsageError("--trust is about the code that a file or a folder names; leave it out here.")
    if chosen.compare is not None and chosen.bench is None and chosen.resume is None:
        raise UsageError("--compare goes with --bench, or with --resume of its folder; give --bench SUITE.")
    if chosen.presets and not chosen.list:
        raise UsageError("--presets goes with --list; add it, or give --preset NAME.")
    both = [name for name in ("preset", "suite", "config") if getattr(chosen, name) is not None]
    if len(both) > 1:
        raise UsageError(f"--{both[0]} and --{both[1]} both set options; give one of them, and flags for the rest.")
    return chosen, rest


def _is_file(argument: str) -> bool:
    """Whether an argument of an option is a file, such as a list of tasks: it may name code, too."""
    return os.path.isfile(argument.partition("=")[2] if argument.startswith("--") else argument)


def _check_sweep(chosen: argparse.Namespace, rest: list[str]) -> None:
    """Check the options of a sweep; without one, `--trials` is the method's and joins `rest`."""
    if chosen.sweep is None and chosen.trials is not None:
        rest += ["--trials", str(chosen.trials)]
        chosen.trials = None
    for option in ("protocol", "objectives"):
        if getattr(chosen, option) is not None and chosen.sweep is None:
            raise UsageError(f"--{option} {getattr(chosen, option)} has no effect without --sweep; leave it out.")
    if chosen.trials is not None:
        _check_count(chosen, "trials", MOST_RUNS)


def _check_count(chosen: argparse.Namespace, option: str, most: int) -> None:
    value = getattr(chosen, option)
    if not 1 <= value <= most:
        raise UsageError(f"--{option} {value} has to be at least 1 and at most {most}.")


def selection_names() -> list[str]:
    """Names of the options that choose what to run, which no single run has."""
    parser = OneSentenceParser(add_help=False)
    add_selection(parser)
    return [option.lstrip("-") for action in parser._actions for option in action.option_strings]


def split_library(rest: list[str]) -> tuple[str | None, list[str]]:
    """Split what stands beside `--list` into the folder of `--library`, and all else."""
    parser = OneSentenceParser(prog=program(), add_help=False, allow_abbrev=False)
    parser.add_argument("--library")
    chosen, others = parser.parse_known_args(rest)
    return chosen.library, others


def refuse_absent_data(arguments: Sequence[str], *, or_image: bool = False) -> None:
    """Refuse data that is not there, before the libraries are imported that would read it: that takes seconds.

    Args:
        arguments: The options of a run or of a command.
        or_image: Whether the data may be a single image.

    Raises:
        RedwoodError: If a file or folder of the options for data is missing, or no data set has this name.
    """
    parser = OneSentenceParser(prog=program(), add_help=False, allow_abbrev=False)
    for name, usual in (("dataset", ""), ("background", ""), ("data_dir", "data"), ("stream", "")):
        parser.add_argument(f"--{name}", default=usual)
    given, _ = parser.parse_known_args(arguments)
    names = [part.strip() for part in given.dataset.split(",")] if given.stream == "tasks" else [given.dataset]
    for name in filter(None, (*names, given.background)):
        if not (or_image and name.lower().endswith(IMAGE_FILES)):
            refuse_absent(name, Path(given.data_dir).expanduser())


def option_names(arguments: Sequence[str]) -> set[str]:
    """Names of the options among arguments, without dashes."""
    return {argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")}


def refuse_repeated(arguments: Sequence[str]) -> None:
    """Refuse an option that is given twice: only the last one would count.

    Raises:
        UsageError: If there is one; both of its values are named.
    """
    seen: dict[str, str] = {}
    names = option_names(arguments)
    for position, argument in enumerate(arguments):
        if not argument.startswith("--") or argument == "--help":
            continue
        name = argument[2:].partition("=")[0]
        # A switch has two names, such as --quiet and --noquiet.
        name = name.removeprefix("no") if name.removeprefix("no") in names else name
        written = _written(arguments, position)
        if name in seen:
            raise UsageError(f"--{name} is given twice, as {seen[name]} and as {written}; give it once.")
        seen[name] = written


def _written(arguments: Sequence[str], position: int) -> str:
    """An option with its values as they are written."""
    values = takewhile(lambda argument: not argument.startswith("--"), arguments[position + 1 :])
    return " ".join([arguments[position], *values])


_EXAMPLES = (
    ("--setting class_incremental --method rehearsal", ""),
    ("--setting class_incremental --method rehearsal --help", "the options of these two"),
    ("--setting all --method rehearsal,ewc,finetune", "one table, one picture"),
    ("--preset der_pp/cifar10-500", "a published result"),
    ("--resume runs/2026...", "go on where it stopped"),
)


def general_help(settings: list[str], methods: list[str]) -> str:
    """The help that needs no pair."""
    parser = OneSentenceParser(
        prog=program(),
        add_help=False,
        description="Run continual-learning methods under the settings that they apply to.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                f"settings: {', '.join(settings)}",
                f"methods:  {', '.join(methods)}",
                "",
                "examples:",
                *(f"  {invocation()} {words:<66} {what}".rstrip() for words, what in _EXAMPLES),
            ]
        ),
    )
    add_selection(parser)
    return parser.format_help()


class UnknownOptionError(UsageError):
    """No class has this option.

    Attributes:
        option: Its name.
    """

    def __init__(self, option: str, whose: str, hint: str, sentence: str = "") -> None:
        super().__init__(sentence or f"There is no option {option} for {whose}; {hint}")
        self.option = option


def refuse_unknown(
    arguments: Iterable[str],
    actions: Mapping[str, argparse.Action],
    whose: str,
    owners: Callable[[str], Sequence[str]] = lambda option: (),
) -> None:
    """Check that every argument is an option, or a value that the option before it takes.

    Args:
        arguments: The command line.
        actions: Each known option, such as `--lr`, and what it does.
        whose: What has these options, for the error message.
        owners: What has to be chosen for an option to be there, by its name without dashes.

    Raises:
        UsageError: For the first argument that is neither.
    """
    room = 0.0
    for argument in arguments:
        if not _is_option(argument):
            if room == 0:
                raise UsageError(f"The argument {argument!r} belongs to no option; see --help.")
            room -= 1
            continue
        name, equals, _ = argument.partition("=")
        if name not in actions:
            if name == "--trials":
                raise UnknownOptionError(name, whose, "it goes with --sweep.")
            having = owners(name.lstrip("-"))
            if having:
                raise UnknownOptionError(
                    name, whose, "", f"{name} belongs to {' or '.join(having)}; add that, or leave {name} out."
                )
            near = nearest_option(name, actions)
            hint = f"did you mean {near}?" if near else "see --help."
            raise UnknownOptionError(name, whose, hint)
        room = 0.0 if equals else _room(actions[name])


def nearest_option(name: str, known: Iterable[str]) -> str | None:
    """The option that a user may have meant by `name`; None if no known one is like it.

    A name that was cut short stands for a number or a size rather than for a kind: `--buffer` for `--buffer_size`.
    """
    names = list(known)
    longer = [other for other in names if other.startswith(f"{name}_")]
    sizes = [other for other in longer if other.endswith("_size")]
    near = difflib.get_close_matches(name, sizes or longer, n=1, cutoff=0)
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=ALIKE)
    return near[0] if near else None


def _is_option(argument: str) -> bool:
    if not argument.startswith("-"):
        return False
    try:
        float(argument)
    except ValueError:
        return True
    return False


def _room(action: argparse.Action) -> float:
    """How many values an option takes at most."""
    if isinstance(action.nargs, int):
        return action.nargs
    return float("inf") if action.nargs == "*" else 1

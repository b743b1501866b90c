"""The command line's words and options that are known before any setting or method is loaded."""

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from redwood.core.branches import branch_commands
from redwood.core.errors import RedwoodError, nearest
from redwood.core.peer_words import answer
from redwood.settings.data.sources import IMAGE_FILES, refuse_absent

# Runs that a comparison or a sweep may have, and processes that it may start.
MOST_RUNS = 100_000
MOST_PROCESSES = 1024

# Redwood's own commands that are words: the arguments and the purpose of each.
OWN = {
    "resume": ("DIR", "continue the run, comparison, sweep or bench in a folder"),
    "predict": ("DIR --dataset D", "predict new samples with a finished run, and write a table"),
    "extend": ("DIR --dataset D", "train a finished run on further data, as a new run"),
    "export": ("DIR", "export a finished run for other programs"),
    "report": ("DIR...", "write one page on runs, comparisons and sweeps; also tables and figures for papers"),
    "diff": ("RUN RUN", "name the first cause why the results of two runs differ"),
    "bench": ("SUITE", "run a suite and check its results, or report on a finished bench"),
    "sweep": ("NAME=VALUES... --setting S --method M", "search values of options, by scores on held-out samples"),
    "list": ("[KEY]", "show all settings with their methods; one setting or method; all methods, data sets or presets"),
    "completion": ("SHELL", "print a script that completes redwood's command line in a shell: bash, zsh or tcsh"),
}


def commands() -> dict[str, tuple[str, str]]:
    """Return what follows each word, and what it does: redwood's own commands, then those of branches.

    Raises:
        RedwoodError: If a branch has a word of redwood's own.
    """
    added = {word: (command.follows, command.does) for word, command in branch_commands().items()}
    taken = OWN.keys() & added.keys()
    if taken:
        raise RedwoodError(f"A branch has the command {min(taken)}, which is redwood's own; rename it.")
    return OWN | added


def program() -> str:
    """The name of the command line in messages, as the user calls it: `cli.py`, `redwood` or `python -m redwood`."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "redwood":
        return "python -m redwood"
    return "redwood" if called.name == "redwood" else "cli.py"


def invocation() -> str:
    """Return the words that start the command line, such as `python cli.py`."""
    return "python cli.py" if program() == "cli.py" else program()


def usage_of(command: str) -> str:
    """Return the usage of a command, such as `python cli.py resume DIR`."""
    return f"{invocation()} {command} {commands()[command][0]}".rstrip()


class UsageError(RedwoodError):
    """The command line is not as it should be."""


def refuse_several(option: str, values: Sequence[str]) -> NoReturn:
    """Raise `UsageError` for several values of an option that takes one."""
    told = f"{option} takes one value, not {' and '.join(values)}"
    if option == "--seed":
        raise UsageError(f"{told}; write --seeds {len(values)}, which count from --seed on.")
    raise UsageError(
        f"{told}; run once with each value, and join the folders by report DIR DIR, or find a method's best value by "
        f"sweep {option.lstrip('-')}={','.join(values)}."
    )


class Answered(Exception):
    """The help has been printed, and nothing is left to do."""


class OneSentenceParser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, raised instead of printed with the usage."""

    @override
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}; see --help.")

    @override
    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise Answered


class _Defaults(argparse.HelpFormatter):
    """Shows the default of each option that has one and does not name it itself."""

    @override
    def _get_help_string(self, action: argparse.Action) -> str:
        text, usual = action.help or "", action.default
        unsaid = usual not in (None, "", [], argparse.SUPPRESS) and action.nargs != 0 and "(default" not in text
        return f"{text} (default: %(default)s)" if unsaid else text


class CommandParser(OneSentenceParser):
    """The parser of a command that is a word."""

    def __init__(self, word: str, **options: Any) -> None:
        """Take one of `commands()`, and further options of an `ArgumentParser`."""
        follows, does = commands()[word]
        super().__init__(
            prog=f"{program()} {word}",
            usage=" ".join(filter(None, ["%(prog)s", follows, "[options]"])),
            description=f"{does[0].upper()}{does[1:]}.",
            allow_abbrev=False,
            formatter_class=_Defaults,
            **options,
        )
        self._word = word

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; raise `UsageError` for one that does not belong to the command."""
        given, others = self.parse_known_args(arguments)
        refuse_unknown(others, self._option_string_actions, f"the command {self._word}")
        return given


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a function that reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        if not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} has to be at least {least} and at most {most}")
        return int(text)

    read.__name__ = "int"  # argparse names it where a text is no number
    return read


def seed_count(text: str) -> int:
    """Read the number of seeds; a list of seeds is refused with the options that mean it."""
    told = "--seeds takes the number of seeds, which count from --seed on"
    seeds = text.strip("[]()").split(",")
    if len(seeds) > 1 and all(seed.strip().isdecimal() for seed in seeds):
        first, *more = sorted(map(int, seeds))
        at = f"--seed {first} " if first else ""
        told += f"; write {at}--seeds {len(seeds)}" if more == [*range(first + 1, first + len(seeds))] else ""
        raise argparse.ArgumentTypeError(f"{text} is a list; {told}")
    try:
        return whole(1, MOST_RUNS)(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        reason = f"{text!r} is no number" if isinstance(error, ValueError) else error
        raise argparse.ArgumentTypeError(f"{reason}; {told}, such as --seeds 3") from None


def table_format(text: str) -> str:
    """Check a value of `--table`: a format, optionally followed by a colon and the metrics of the table."""
    name, colon, metrics = text.partition(":")
    named = metrics.split(",") if colon else []
    if name not in ("latex", "markdown") or "" in named:
        choices = "latex, markdown, latex:METRIC, latex:METRIC,METRIC"
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {choices})")
    if len(set(named)) < len(named):
        raise argparse.ArgumentTypeError(f"{text} names a metric twice")
    return text


def add_trust(parser: argparse._ActionsContainer, source: str) -> None:
    """Add the option that allows code which a file or a folder names."""
    parser.add_argument("--trust", action="store_true", help=f"run code that {source} names, yours too")


def add_table(parser: argparse._ActionsContainer) -> None:
    """Add the option of commands that make a table for a paper."""
    told = "print a table: latex or markdown; latex:METRIC,... has these metrics alone"
    parser.add_argument("--table", type=table_format, metavar="FORMAT", help=told)


def add_launching(parser: argparse._ActionsContainer) -> None:
    """Add the options of commands that run several jobs."""
    add = parser.add_argument
    add_table(parser)
    add(
        "--jobs",
        type=whole(1, MOST_PROCESSES),
        metavar="N",
        help="number of parallel runs (default: one per core or GPU)",
    )
    launchers = "where runs take place: here, pool (default), slurm or ray"
    add("--launcher", choices=("here", "pool", "slurm", "ray"), metavar="NAME", help=launchers)
    add("--slurm", nargs="+", metavar="KEY=VALUE", help="options of sbatch, such as partition=a mem=8G")
    add("--ray", nargs="+", metavar="KEY=VALUE", help="options of Ray, such as address=auto num_gpus=1")


def add_selection(parser: argparse.ArgumentParser, *, one_pair: bool = False) -> None:
    """Add the options that choose what to run; `one_pair`: their help says that only one pair is run."""
    group = parser.add_argument_group("what to run")
    add, number = group.add_argument, whole(1, MOST_RUNS)
    setting = "one setting" if one_pair else "setting; for several: a,b or all"
    method = "one method" if one_pair else "method; for several, each alone: a,b or all"
    add("--setting", metavar="KEY", help=f"{setting} (see the command list)")
    add("--method", metavar="KEY", help=f"{method}; a+b joins two into one; file.py:Class is your own")
    seeds = "repeat with N seeds, from --seed on; tables show mean and deviation"
    add("--seeds", type=seed_count, default=1, metavar="N", help=seeds)
    add(
        "--class_orders",
        type=number,
        metavar="N",
        help="run each seed with N class orders (default: each seed draws one order)",
    )
    add_launching(group)
    add("--config", metavar="FILE", help="read options from a YAML file; flags override them")
    add("--preset", metavar="NAME", help="use the options of a published result; flags override them")
    add("--suite", metavar="NAME", help="read environments, budget and agent options from a suite: its name or a file")
    add_trust(group, "a file of options")
    told = "show this help; with a setting and a method: the options that most users need, or all"
    add("--help", "-h", nargs="?", choices=("all",), const=True, metavar="all", help=told)


def selection_parser() -> argparse.ArgumentParser:
    """The parser of the options that choose what to run, and of nothing else."""
    parser = OneSentenceParser(
        prog=program(),
        add_help=False,
        allow_abbrev=False,
        description="Run continual-learning methods under the settings that they apply to.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--version", action="store_true", help="show the version")
    return parser


def parse_selection(
    arguments: Sequence[str], parser: argparse.ArgumentParser | None = None
) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into what to run, by `parser` or `selection_parser`, and the options of the run."""
    chosen, rest = (parser or selection_parser()).parse_known_args(arguments)
    files = (os.path.isfile(part) for argument in arguments for part in (argument, argument.partition("=")[2]))
    if chosen.trust and not (chosen.config or chosen.suite or any(files)):
        raise UsageError("--trust is about the code that a file or a folder names; leave it out here.")
    both = [name for name in ("preset", "suite", "config") if getattr(chosen, name) is not None]
    if len(both) > 1:
        raise UsageError(f"--{both[0]} and --{both[1]} both set options; give one of them, and flags for the rest.")
    return chosen, rest


def selection_names() -> list[str]:
    """Return the names of the options that choose the runs; a single run has none of these."""
    return [option.lstrip("-") for option in selection_parser()._option_string_actions]


def refuse_absent_data(arguments: Sequence[str], *, or_image: bool = False) -> None:
    """Raise `RedwoodError` for missing data at once, before the slow imports of libraries that read it.

    Args:
        arguments: The options of a run or of a command.
        or_image: Whether the data may be a single image.
    """
    parser = OneSentenceParser(prog=program(), add_help=False, allow_abbrev=False)
    for name, usual in (("dataset", ""), ("data_dir", "data"), ("stream", "")):
        parser.add_argument(f"--{name}", default=usual)
    given, _ = parser.parse_known_args(arguments)
    names = [part.strip() for part in given.dataset.split(",")] if given.stream == "tasks" else [given.dataset]
    for name in filter(None, names):
        if not (or_image and name.lower().endswith(IMAGE_FILES)):
            refuse_absent(name, Path(given.data_dir).expanduser())


def tell(text: str) -> None:
    """Print a line; of several processes that torchrun or SLURM has started, the first one prints it."""
    if (os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0") == "0":
        print(text, flush=True)


def option_names(arguments: Sequence[str]) -> set[str]:
    """Names of the options among arguments, without dashes."""
    return {argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")}


def given_texts(arguments: Sequence[str]) -> dict[str, str]:
    """The first value that is given to each option, as text; of several times the last one, as for argparse."""
    given: dict[str, str] = {}
    for argument, following in pairwise([*arguments, ""]):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            given[name] = value if equals else following
    return given


def refuse_repeated(arguments: Sequence[str]) -> None:
    """Raise `UsageError` for an option that is given twice: only the last one would count."""
    seen: dict[str, list[str]] = {}
    names, name = option_names(arguments), ""
    for argument in arguments:
        if argument.startswith("--"):
            name = argument[2:].partition("=")[0]
            # A switch has two names, such as --quiet and --noquiet.
            name = name.removeprefix("no") if name.removeprefix("no") in names else name
            seen[name] = [*seen.get(name, []), argument]
        elif name:
            seen[name][-1] += f" {argument}"
    for name, (first, *more) in seen.items():
        if more and name != "help":
            raise UsageError(f"--{name} is given twice, as {first} and as {more[0]}; give it once.")


_EXAMPLES = (
    ("--setting class_incremental --method rehearsal", ""),
    ("--setting class_incremental --method rehearsal --help", "the options that most users of this pair need"),
    ("--setting all --method rehearsal,ewc,finetune", "one table, one picture"),
    ("--preset der_pp/cifar10-500", "a published result"),
    ("resume runs/2026...", "continue a stopped run"),
)


def general_help(settings: Sequence[str], methods: Sequence[str]) -> str:
    """The help that needs no pair."""
    parser = selection_parser()
    parser.usage = f"%(prog)s --setting S --method M [options]\n       {program()} COMMAND [options]"
    parser.epilog = "\n".join(
        [
            "commands, each with a --help of its own:",
            *(f"  {f'{word} {follows}':<46}{does}" for word, (follows, does) in commands().items()),
            "",
            f"settings: {', '.join(settings)}",
            f"methods:  {', '.join(methods)}",
            "",
            "The words of Avalanche, Mammoth and Sequoia are understood or answered: docs/switching.md.",
            "",
            "examples:",
            *(f"  {invocation()} {words:<66} {what}".rstrip() for words, what in _EXAMPLES),
        ]
    )
    return parser.format_help()


def check_word(word: str, others: Sequence[str]) -> None:
    """Raise `UsageError` unless a word is a command, and what it is about comes before its options."""
    if word not in commands():
        near = nearest(word, commands())
        hint = f"did you mean {near}?" if near else f"choose one of {', '.join(commands())}, or give --setting."
        raise UsageError(answer("command", word) or f"There is no command {word}; {hint}")
    first = commands()[word][0].partition(" ")[0]
    if (
        first
        and not first.startswith("[")
        and others
        and others[0].startswith("-")
        and not {"-h", "--help"} & set(others)
    ):
        raise UsageError(f"{first} comes before {others[0]}: {usage_of(word)}")


def refuse_old(names: Iterable[str]) -> None:
    """Raise `UsageError` for a command that is written as an option, as commands once were."""
    for name in names:
        if name in commands():
            raise UsageError(f"--{name} is a command now: {usage_of(name)}")


class UnknownOptionError(UsageError):
    """There are no such `options`."""

    def __init__(self, told: Mapping[str, str], whose: str) -> None:
        """Tell all options at once.

        Args:
            told: A sentence on each option; or, from a semicolon on, its end, which options may share.
            whose: What has other options.
        """
        sentences: list[str] = []
        place = f" for {whose}"  # in the first sentence alone
        for end in dict.fromkeys(told.values()):
            if not end.startswith(";"):
                sentences.append(end)
                continue
            names = [name for name, own in told.items() if own == end]
            there = "There is no option" if len(names) == 1 else "There are no options"
            sentences.append(f"{there} {', '.join(names)}{place}{end}")
            place = ""
        super().__init__(" ".join(sentences))
        self.options = list(told)


def refuse_unknown(
    arguments: Iterable[str],
    actions: Mapping[str, argparse.Action],
    whose: str,
    owners: Callable[[str], Sequence[str]] = lambda option: (),
    elsewhere: Callable[[str], str] = lambda option: "",
) -> None:
    """Check that every argument is an option, or a value that the option before it takes.

    Args:
        arguments: The command line.
        actions: Each known option, such as `--lr`, and what it does.
        whose: What has these options, for the error message.
        owners: What has to be chosen for an option to be there, by its name without dashes.
        elsewhere: What to do for an option of other methods, by its name without dashes; empty if there is no such.

    Raises:
        UnknownOptionError: If some arguments are unknown options; all of them are told.
        UsageError: For the first value that belongs to no option.
    """
    room, last = 0.0, [""]  # values that the last option takes; this option with its values
    told: dict[str, str] = {}
    for argument in arguments:
        if not _is_option(argument):
            last.append(argument)
            if room == 0 and not told:
                if _is_number(argument) and last[0] in actions and actions[last[0]].type in (int, float):
                    refuse_several(last[0], last[1:])
                hint = "a command comes first" if argument in commands() else "see --help"
                raise UsageError(f"The argument {argument!r} belongs to no option; {hint}.")
            room -= 1
            continue
        name, equals, value = argument.partition("=")
        last = [name, value] if equals else [name]
        if name in actions:
            room = 0.0 if equals else _room(actions[name])
            continue
        refuse_old([name.lstrip("-")])
        told[name] = _told(name, actions, whose, owners, elsewhere)
        room = float("inf")
    if told:
        raise UnknownOptionError(told, whose)


def _told(
    name: str,
    actions: Mapping[str, argparse.Action],
    whose: str,
    owners: Callable[[str], Sequence[str]],
    elsewhere: Callable[[str], str],
) -> str:
    """A sentence on an unknown option, or the end of one; the arguments are those of `refuse_unknown`."""
    option = name.lstrip("-")
    having = owners(option)
    if having:
        return f"{name} belongs to {' or '.join(having)}; add that, or leave {name} out."
    near = nearest_option(name, actions)
    hint = f"did you mean {near}?" if near else "see --help."
    is_cut_short = near is not None and near.startswith(name)  # this pair's option, without its end
    return answer("option", option, actions, whose) or f"; {(not is_cut_short and elsewhere(option)) or hint}"


def nearest_option(name: str, known: Iterable[str]) -> str | None:
    """The option that a user may have meant by `name`; None if no known one is like it.

    A name that was cut short stands for a number or a size rather than for a kind: `--buffer` for `--buffer_size`.
    """
    names = list(known)
    longer = [other for other in names if other.startswith(f"{name}_")]
    sizes = [other for other in longer if other.endswith("_size")]
    near = difflib.get_close_matches(name, sizes or longer, n=1, cutoff=0)
    without_dashes = {other.lstrip("-"): other for other in names}
    alike = near[0] if near else nearest(name.lstrip("-"), without_dashes)
    return without_dashes[alike.lstrip("-")] if alike else None


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not _is_number(argument)  # a negative number is a value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _room(action: argparse.Action) -> float:
    """Return the largest number of values that an option takes."""
    if isinstance(action.nargs, int):
        return action.nargs
    return float("inf") if action.nargs == "*" else 1

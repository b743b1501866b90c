"""Build the options of a pair from the dataclasses of its setting, its method and the run."""

import argparse
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import simple_parsing

from redwood.experiments.arguments import UsageError, add_selection
from redwood.methods import get_method
from redwood.methods.base import Method
from redwood.settings import get_setting
from redwood.settings.base import Setting
from redwood.settings.run import Run


@dataclass
class Pair:
    """A setting and a method by the names under which the user knows them."""

    setting: str
    method: str

    def load(self) -> tuple[type[Setting], type[Method]]:
        """The two classes.

        Raises:
            RedwoodError: If one is unknown or cannot be loaded.
        """
        return get_setting(self.setting), get_method(self.method)

    def __str__(self) -> str:
        return f"--setting {self.setting} --method {self.method}"


class _Parser(simple_parsing.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}; see --help.")


@dataclass
class Options:
    """The three objects that the options of a pair make."""

    setting: Setting
    method: Method
    run: Run


def make_parser(pair: Pair) -> simple_parsing.ArgumentParser:
    """The parser of a pair's options.

    Raises:
        UsageError: If the setting and the method (or the run) both have an option of the same name.
    """
    setting, method = pair.load()
    _refuse_clashes(setting, method)
    parser = _Parser(
        prog="cli.py",
        add_help=False,
        allow_abbrev=False,
        description=f"Options of {pair}.",
    )
    add_selection(parser)
    parser.add_arguments(setting, "setting_options", default=setting())
    parser.add_arguments(method, "method_options", default=method())
    parser.add_arguments(Run, "run_options", default=Run())
    return parser


def parse_options(pair: Pair, arguments: list[str]) -> tuple[Options, list[str]]:
    """Make setting, method and run from command-line arguments.

    Returns:
        The three, and the arguments that the pair has no option for.

    Raises:
        RedwoodError: If a value is out of range or contradicts the setting.
    """
    parser = make_parser(pair)
    parsed, unknown = parser.parse_known_args(arguments)
    return Options(parsed.setting_options, parsed.method_options, parsed.run_options), unknown


def refuse_unknown(pairs: list[Pair], unknown: list[str]) -> None:
    """Raise `UsageError` for the first argument that no pair knows, naming the nearest option."""
    if not unknown:
        return
    name = unknown[0].partition("=")[0]
    if not name.startswith("-"):
        raise UsageError(f"The argument {name!r} belongs to no option; see --help.")
    known = sorted({option for pair in pairs for option in option_strings(pair)})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else "; see --help."
    raise UsageError(f"There is no option {name} for {pairs[0] if len(pairs) == 1 else 'any of these pairs'}{hint}")


def option_strings(pair: Pair) -> Iterable[str]:
    """All options that a pair has, such as `--lr`."""
    parser = make_parser(pair)
    parser.parse_known_args([])
    return [option for action in parser._actions for option in action.option_strings]


def pair_help(pair: Pair) -> str:
    """The help of a pair: what to run, and the options of setting, method and run."""
    parser = make_parser(pair)
    parser.parse_known_args([])
    return str(parser.format_help())


def _refuse_clashes(setting: type[Setting], method: type[Method]) -> None:
    reserved = argparse.ArgumentParser(add_help=False)
    add_selection(reserved)
    owner: dict[str, Any] = {action.dest: "the command line" for action in reserved._actions}
    for cls in (Run, setting, method):
        for f in fields(cls):
            if f.metadata.get("cmd", True) and owner.setdefault(f.name, cls.__name__) != cls.__name__:
                raise UsageError(
                    f"{cls.__name__} and {owner[f.name]} both have an option --{f.name}; rename the field of the class."
                )

"""Build the options of a pair from the dataclasses of its setting, its method and the run."""

import argparse
import inspect
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, NoReturn

import simple_parsing
from simple_parsing.docstring import get_attribute_docstring
from simple_parsing.help_formatter import SimpleHelpFormatter

from redwood.core.errors import RedwoodError
from redwood.engine.run import Run
from redwood.experiments.arguments import UsageError, add_selection, program, refuse_unknown
from redwood.experiments.pairs import Pair
from redwood.methods.base import Method
from redwood.settings.base import Setting


class HelpFormatter(SimpleHelpFormatter):
    """Shows the default of each option that has one, once: some texts name it themselves."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if not text or "(default" in text or action.default is None or action.nargs == 0:
            return text
        return f"{text} (default: {'none' if action.default in ([], '') else '%(default)s'})"


def polish(parser: argparse.ArgumentParser, texts: Mapping[str, str]) -> None:
    """Undo defaults of simple-parsing.

    It accepts an option whose default is None without a value, and shows groups and some types by the names of
    variables and functions.

    Args:
        parser: The parser.
        texts: Help of options, by their names without dashes.
    """
    for group in parser._action_groups:
        group.title = group.title and group.title.partition(" ['")[0]
    for action in parser._actions:
        name = action.option_strings[-1].removeprefix("--") if action.option_strings else ""
        action.help = texts.get(name, action.help)
        # A percent sign in the comment of a field is no placeholder; simple-parsing puts that of switches there itself.
        action.help = action.help and action.help.replace("%", "%%").replace("%%(default)s", "%(default)s")
        if action.type in (int, float, str):
            name = action.type.__name__
        elif isinstance(action, argparse._StoreAction) and action.type is not None:
            name = "value"
        else:
            continue
        if action.nargs == "?":
            action.nargs = None
        if action.option_strings not in (["--seeds"], ["--class_orders"], ["--jobs"], ["--table"]):
            action.metavar = f"{name} ..." if action.nargs == "*" else name


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

    Args:
        pair: The pair.

    Raises:
        UsageError: If the setting and the method (or the run) both have an option of the same name, or a class cannot
            be made without arguments.
    """
    setting, method = pair.load()
    _refuse_clashes(setting, method)
    parser = _Parser(
        prog=program(),
        add_help=False,
        allow_abbrev=False,
        description=f"Options of {pair}.",
        formatter_class=HelpFormatter,
    )
    add_selection(parser)
    add_options(parser, setting=setting, method=method, run=Run)
    return parser


def add_options(parser: simple_parsing.ArgumentParser, **classes: type[Any]) -> None:
    """Add the options of some classes; those of `name` become the attribute `name_options` of what is parsed.

    Raises:
        UsageError: If a class cannot be made without arguments.
    """
    for name, cls in classes.items():
        parser.add_arguments(cls, f"{name}_options", default=_with_defaults(cls))
    parser.parse_known_args([])  # the options are not there before
    polish(parser, {name: text for cls in classes.values() for name, text in _comments(cls).items()})


def parse_options(pair: Pair, arguments: list[str]) -> Options:
    """Make setting, method and run from command-line arguments; those of other pairs are passed over.

    Raises:
        RedwoodError: If a value is out of range or contradicts the setting.
    """
    parsed, _ = make_parser(pair).parse_known_args(arguments)
    return Options(parsed.setting_options, parsed.method_options, parsed.run_options)


def check_arguments(pairs: list[Pair], arguments: list[str]) -> None:
    """Raise `UsageError` for the first argument that no pair takes."""
    by_setting, by_method = ({getattr(pair, part): pair for pair in pairs} for part in ("setting", "method"))
    # A pair has the options of its two classes: some pairs with all of the classes have all of the options.
    some = dict.fromkeys((*by_setting.values(), *by_method.values()))
    known = {
        option: action for pair in some for action in make_parser(pair)._actions for option in action.option_strings
    }
    refuse_unknown(arguments, known, str(pairs[0]) if len(pairs) == 1 else "any of these pairs")


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


def pair_help(pair: Pair) -> str:
    """The help of a pair: what to run, and the options of setting, method and run."""
    return make_parser(pair).format_help()


def _comments(cls: type[Any]) -> dict[str, str]:
    """Comments at the ends of the lines of a class's fields; simple-parsing prefers the line above."""
    found = {f.name: get_attribute_docstring(cls, f.name).comment_inline for f in fields(cls)}
    return {name: comment for name, comment in found.items() if comment}


def _with_defaults(cls: type[Any]) -> Any:
    forgotten = [name for name in inspect.get_annotations(cls) if name not in {f.name for f in fields(cls)}]
    if forgotten and "__dataclass_fields__" not in vars(cls):
        raise UsageError(f"{cls.__name__} has the option {forgotten[0]} but is no dataclass; put @dataclass above it.")
    if inspect.isabstract(cls):
        missing = " and ".join(sorted(cls.__abstractmethods__))
        raise UsageError(f"{cls.__name__} has no {missing}; define what is missing in the class.")
    needed = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if needed:
        raise UsageError(f"{cls.__name__} gives {needed[0]} no default; write {needed[0]}: ... = ... in the class.")
    try:
        return cls()
    except TypeError as error:
        raise UsageError(f"{cls.__name__} cannot be made without arguments ({error}).") from error


def _refuse_clashes(setting: type[Setting], method: type[Method]) -> None:
    reserved = argparse.ArgumentParser(add_help=False)
    add_selection(reserved)
    owner: dict[str, str] = {action.dest: "the command line" for action in reserved._actions}
    for cls in (Run, setting, method):
        for f in fields(cls):
            if f.metadata.get("cmd", True) and owner.setdefault(f.name, cls.__name__) != cls.__name__:
                raise UsageError(
                    f"{cls.__name__} and {owner[f.name]} both have an option --{f.name}; rename the field of the class."
                )

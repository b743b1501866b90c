"""Refuse arguments that nobody takes, naming what may have been meant."""

import argparse
import difflib
from collections.abc import Iterable, Mapping

from redwood.experiments.arguments import UsageError

# How alike a name has to be to be named as what may have been meant: at .6, `--epsilon` is like `--version`.
ALIKE = 0.7


class UnknownOptionError(UsageError):
    """Nobody has this option.

    Attributes:
        option: Its name.
    """

    def __init__(self, option: str, whose: str, hint: str) -> None:
        super().__init__(f"There is no option {option} for {whose}; {hint}")
        self.option = option


def refuse_unknown(arguments: Iterable[str], actions: Mapping[str, argparse.Action], whose: str) -> None:
    """Check that every argument is an option, or a value that the option before it takes.

    Args:
        arguments: The command line.
        actions: Each known option, such as `--lr`, and what it does.
        whose: What has these options, for the error message.

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
            near = difflib.get_close_matches(name, actions, n=1, cutoff=ALIKE)
            hint = f"did you mean {near[0]}?" if near else "see --help."
            raise UnknownOptionError(name, whose, hint)
        room = 0.0 if equals else _room(actions[name])


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
    if action.nargs == 0:
        return 0
    return float("inf") if action.nargs == "*" else 1

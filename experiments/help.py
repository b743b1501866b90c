"""How the options of a pair are shown."""

import argparse
from collections.abc import Mapping

from simple_parsing import SimpleHelpFormatter


class HelpFormatter(SimpleHelpFormatter):
    """Shows the default of each option that has one, once: some texts name it themselves."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if not text or "(default" in text or action.default is None or action.nargs == 0:
            return text
        return f"{text} (default: {'none' if action.default == [] else '%(default)s'})"


def polish(parser: argparse.ArgumentParser, texts: Mapping[str, str]) -> None:
    """Take back what simple-parsing does of its own accord.

    It lets an option whose default is None go without a value, and shows groups and some types by the names of
    variables and functions.

    Args:
        parser: The parser.
        texts: What is said of options, by their names without dashes.
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
        if action.option_strings not in (["--seeds"], ["--jobs"]):
            action.metavar = f"{name} ..." if action.nargs == "*" else name

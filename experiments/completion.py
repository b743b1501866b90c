"""The completion of the command line in a shell, as a script that the library shtab makes of a parser."""

import argparse

from redwood.core.extras import load_extra
from redwood.experiments.command_line import arguments
from redwood.experiments.command_line.options import make_parser
from redwood.experiments.command_line.pairs import Pair
from redwood.methods.table import method_names
from redwood.settings.table import setting_names

_USUAL = (Pair("class_incremental", "rehearsal"), Pair("incremental_rl", "ppo"))


def script_for(shell: str) -> str:
    """The completion of `redwood`: commands, settings, methods, and the options of a usual learner and a usual agent.

    Args:
        shell: bash, zsh or tcsh.

    Raises:
        RedwoodError: If shtab is not installed.
    """
    shtab = load_extra("shtab", "completion", f"completion {shell}")
    parser = argparse.ArgumentParser(prog="redwood", add_help=False, allow_abbrev=False)
    for pair in _USUAL:
        for action in make_parser(pair)._actions:
            if action.help != argparse.SUPPRESS and not {*action.option_strings} & {*parser._option_string_actions}:
                parser._add_action(action)
    for name, keys in (("--setting", setting_names()), ("--method", method_names())):
        parser._option_string_actions[name].choices = keys
    words = parser.add_subparsers()
    for word, (follows, does) in arguments.commands().items():
        command = words.add_parser(word, help=does, add_help=False)
        if follows.startswith(("DIR", "RUN")):
            folder: argparse.Action = command.add_argument("folder", nargs="*")
            vars(folder)["complete"] = shtab.DIRECTORY  # read by shtab
    text: str = shtab.complete(parser, shell)
    return text

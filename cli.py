"""Redwood's command line: `python cli.py --setting class_incremental --method rehearsal`.

Each command imports what it needs when it is chosen, so that `--help`, `--list` and `--version` answer at once.
"""

import argparse
import contextlib
import os
import sys
import warnings
from pathlib import Path

from redwood import __version__
from redwood.core.errors import RedwoodError, lack_of_room, told_of_exit
from redwood.core.imports import only
from redwood.core.late_torchmetrics import defer_torchmetrics
from redwood.core.printable import printable
from redwood.engine.signals import INTERRUPTED, Stopped, stop_signals
from redwood.experiments.arguments import (
    UnknownOptionError,
    UsageError,
    general_help,
    option_names,
    parse_selection,
    refuse_absent_data,
    refuse_repeated,
    split_library,
)
from redwood.methods.table import method_names
from redwood.settings.table import SETTINGS, setting_names

FAILED = 1
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, 1 if a run of several failed, 2 for a usage error, 130 after an interrupt, 143 after SIGTERM, SIGUSR1 or SIGHUP.
    """
    _replace_closed_streams()
    defer_torchmetrics()
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *where, **more: printable(f"warning: {message}\n")
    try:
        with stop_signals(interrupts=True):
            given = sys.argv[1:] if argv is None else argv
            with only(None if "--trust" in given else given):
                return _answer(given)
    except KeyboardInterrupt as interrupt:
        _print_stop("interrupted", *interrupt.args)
        return INTERRUPTED
    finally:
        warnings.formatwarning = usual


def _replace_closed_streams() -> None:
    """Let what is written to a closed stream vanish. Files that are opened later must not get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open as long as the process


def _answer(argv: list[str]) -> int:
    """Run the command, and print errors of redwood's, lack of room and signals as one sentence."""
    try:
        _refuse_deleted_folder()
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except RedwoodError as error:
        print(printable(f"error: {' '.join(str(error).split())}"), file=sys.stderr)
        return USAGE_ERROR
    except Stopped as stop:
        folder = getattr(stop, "folder", None)
        _print_stop("interrupted" if stop.code == INTERRUPTED else "terminated", *([folder] if folder else []))
        return int(str(stop.code))
    except SystemExit as request:
        if isinstance(request.__context__, BrokenPipeError):  # rich has dealt with it
            raise
        print(printable(f"error: {told_of_exit(request)}"), file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe. The rest of the output must not fail when Python ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = lack_of_room(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return USAGE_ERROR


def _refuse_deleted_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("The current folder has been deleted; change to another one.") from None


def _print_stop(what: str, *folder: object) -> None:
    """Print that a signal has ended the run, and how to go on if there is a folder to go on with."""
    with contextlib.suppress(OSError):  # after SIGHUP there is no terminal
        advice = "".join(f"; go on with --resume {path}" for path in folder)
        print(printable(f"{what}{advice}"), file=sys.stderr)


def _dispatch(argv: list[str]) -> int:
    """Choose the command."""
    refuse_repeated(argv)
    chosen, rest = parse_selection(argv)
    for command in ("resume", "bench", "report"):
        if getattr(chosen, command):
            return _use_folders(command, chosen, rest)
    for command in ("predict", "export", "extend"):
        if getattr(chosen, command) is not None:
            return _use_trained(command, chosen, rest)
    if chosen.list:
        return _list(chosen, rest)
    if chosen.version:
        _refuse_chosen("--version goes alone", chosen, "version")
        _refuse_more("--version", rest)
        print(__version__)
        return 0
    if chosen.advise:
        return _advise(chosen, rest)
    if chosen.preset is None and chosen.config is None and chosen.suite is None:
        if _asks_for_general_help(chosen):
            return _general_help()
        _refuse_missing(chosen)
    return _run_selected(argv, chosen, rest)


def _list(chosen: argparse.Namespace, rest: list[str]) -> int:
    library, others = split_library(rest)
    _refuse_chosen("--list shows the whole tree", chosen, "list", "presets", "json")
    _refuse_more(*("--list --presets", rest) if chosen.presets else ("--list", others))
    if library is not None:
        from redwood.experiments.library_listing import print_library

        print_library(library, chosen.json)
        return 0
    if chosen.presets:
        from redwood.experiments.presets import print_presets

        print_presets(chosen.json)
    else:
        from redwood.experiments.tree_view import print_settings

        print_settings(chosen.json)
    return 0


def _advise(chosen: argparse.Namespace, rest: list[str]) -> int:
    _refuse_chosen("--advise runs no method under a setting", chosen, "advise")
    if not chosen.help:
        refuse_absent_data(rest)
        _tell_imports(rest)
    from redwood.experiments import advice

    advice.advise([*rest, "--help"] if chosen.help else rest)
    return 0


def _use_trained(command: str, chosen: argparse.Namespace, rest: list[str]) -> int:
    """Predict with a finished run, export it, or let it learn further data."""
    folder = getattr(chosen, command)
    allowed, _ = parse_selection([f"--{command}", folder])
    allowed.trust, allowed.help = chosen.trust, chosen.help
    for option, value in vars(chosen).items():
        if value != getattr(allowed, option):
            raise UsageError(f"--{command} uses the run in {folder} as it is; leave --{option} out.")
    arguments = [*rest, "--help"] if chosen.help else rest
    # `--extend` looks for data in the run's own `data_dir`, which is read later.
    if command == "predict" and not chosen.help:
        refuse_absent_data(rest, or_image=True)
    if command == "predict":
        from redwood.experiments.trained.predict import predict

        predict(folder, arguments, trusted=chosen.trust)
    elif command == "extend":
        from redwood.experiments.trained.extend import extend

        extend(Path(folder), arguments, trusted=chosen.trust)
    else:
        from redwood.experiments.trained.export import export

        export(folder, arguments, trusted=chosen.trust)
    return 0


def _refuse_chosen(why: str, chosen: argparse.Namespace, *allowed: str) -> None:
    """Refuse options that choose what to run, where nothing is run."""
    usual, _ = parse_selection([])
    for option, value in vars(chosen).items():
        if option not in (*allowed, "help") and value != getattr(usual, option):
            raise UsageError(f"{why}; leave --{option} out.")


def _refuse_more(option: str, rest: list[str]) -> None:
    if rest:
        raise UsageError(f"{option} goes alone; leave {rest[0]} out.")


def _asks_for_general_help(chosen: argparse.Namespace) -> bool:
    return bool(chosen.help) and not (chosen.setting and chosen.method)


def _general_help() -> int:
    print(general_help(setting_names(), method_names()))
    return 0


def _refuse_missing(chosen: argparse.Namespace) -> None:
    if not (chosen.setting and chosen.method):
        missing = "--setting" if not chosen.setting else "--method"
        raise UsageError(f"{missing} is missing; for example --setting class_incremental --method rehearsal.")


def _use_folders(command: str, chosen: argparse.Namespace, rest: list[str]) -> int:
    """Go on with what lies in a folder, run a suite, or report."""
    if command == "resume" and not chosen.help:
        _tell_imports(rest)
    from redwood.experiments import commands

    return 0 if getattr(commands, command)(chosen, rest) else FAILED


def _tell_imports(rest: list[str]) -> None:
    """Print the first line of a run, as its libraries take seconds to import."""
    number = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"  # torchrun and SLURM start several
    if "torch" not in sys.modules and "quiet" not in option_names(rest) and number == "0":
        print("loading torch and Lightning", flush=True)


def _options_of_file(argv: list[str], chosen: argparse.Namespace) -> list[str]:
    """The options of `--config`, `--preset` or `--suite`, as command-line arguments."""
    if chosen.config is None and chosen.preset is None and chosen.suite is None:
        return []
    from redwood.experiments import config_file, presets
    from redwood.experiments.suites import suite_arguments

    if chosen.config is not None:
        return config_file.read_arguments(Path(chosen.config), option_names(argv), trusted=chosen.trust)
    if chosen.preset is not None:
        return presets.announce(presets.find_preset(chosen.preset))
    given = option_names(argv)
    return suite_arguments(chosen.suite, chosen.setting, chosen.method, given, trusted=chosen.trust)


def _where_set(chosen: argparse.Namespace) -> str:
    """Where an option comes from that is not on the command line, and what to do about it."""
    if chosen.preset is not None:
        return f"by the preset {chosen.preset}; leave --setting and --method to it"
    if chosen.suite is not None:
        return f"by the suite {chosen.suite}; choose another --method, or a --setting of reinforcement learning"
    return f"in {chosen.config}; remove that line if it is another method's"


def _run_selected(argv: list[str], chosen: argparse.Namespace, rest: list[str]) -> int:
    """Run the chosen pairs, or show their help; the options of a file join those of the command line."""
    in_file = _options_of_file(argv, chosen)
    chosen, rest = parse_selection(in_file + argv)
    if _asks_for_general_help(chosen):
        return _general_help()
    _refuse_missing(chosen)
    if not chosen.help:
        # Another setting may look for data in another folder.
        if chosen.setting == "all" or SETTINGS.keys() >= set(chosen.setting.split(",")):
            refuse_absent_data(rest)
        _tell_imports(rest)
    from redwood.experiments import options, pairs

    selected, reasons = pairs.select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(options.pair_help(selected[0], rest))
        return 0
    try:
        if len(selected) == 1:  # training libraries take seconds to import, which a wrong option does not wait for
            options.check_arguments(selected, rest)
        from redwood.experiments.commands import run

        return 0 if run(selected, reasons, chosen, rest) else FAILED
    except UnknownOptionError as error:
        if error.option not in {argument.partition("=")[0] for argument in in_file}:
            raise
        raise UsageError(f"{error} It is set {_where_set(chosen)}.") from None


if __name__ == "__main__":
    sys.exit(main())

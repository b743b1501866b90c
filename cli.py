"""Redwood's command line: `python cli.py --setting class_incremental --method rehearsal`.

Beside a run of `--setting` and `--method`, the first argument is a command: `python cli.py resume DIR`.
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

from redwood.core.calls import from_command_line, resume_call, shorten_warnings
from redwood.core.errors import RedwoodError, lack_of_room, told_of_exit
from redwood.core.imports import only
from redwood.core.late_torchmetrics import defer_torchmetrics
from redwood.core.printable import printable
from redwood.engine.signals import INTERRUPTED, Stopped, stop_signals
from redwood.experiments import commands
from redwood.experiments.command_line.arguments import Answered, UsageError, given_texts, invocation, refuse_repeated

FAILED = 1
USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, 1 if a run of several failed, 2 for a usage error, 130 after an interrupt, 143 after SIGTERM, SIGUSR1 or SIGHUP.
    """
    _replace_closed_streams()
    defer_torchmetrics()
    usual = warnings.formatwarning
    try:
        argv = sys.argv[1:] if argv is None else argv
        with from_command_line(invocation(), argv):
            shorten_warnings()
            return _listening(argv)
    finally:
        warnings.formatwarning = usual


def _replace_closed_streams() -> None:
    """Let what is written to a closed stream vanish. Files that are opened later must not get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # open as long as the process


def _listening(argv: list[str]) -> int:
    """Run the command until it ends or a signal ends it."""
    try:
        with stop_signals(interrupts=True), only(None if "--trust" in argv else argv):
            return _answer(argv)
    except KeyboardInterrupt as interrupt:
        _print_stop("interrupted", argv, *interrupt.args)
        return INTERRUPTED


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
        _print_stop("interrupted" if stop.code == INTERRUPTED else "terminated", argv, *([folder] if folder else []))
        return int(str(stop.code))
    except SystemExit as request:
        if isinstance(request.__context__, BrokenPipeError):  # rich has dealt with it
            raise
        print(printable(f"error: {told_of_exit(request)}"), file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        _drop_output()  # a reader such as `head` has closed the pipe
        return FAILED
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = lack_of_room(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _drop_output()
        return USAGE_ERROR


def _drop_output() -> None:
    """Let the rest of the output vanish: it must not fail once more when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse_deleted_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UsageError("The current folder has been deleted; change to another one.") from None


def _print_stop(what: str, argv: list[str], *folder: str | Path) -> None:
    """Print that a signal has ended the run, and how to go on if there is a folder to go on with."""
    from redwood.experiments.command_line.trust import TEXTS, names_code  # loads what help and lists do without

    own_code = "--trust" in argv or any(
        name not in TEXTS and names_code(text, name) for name, text in given_texts(argv).items()
    )
    with contextlib.suppress(OSError):  # after SIGHUP there is no terminal
        advice = "".join(f"; go on with {resume_call(path)}{' --trust' * own_code}" for path in folder)
        print(printable(f"{what}{advice}"), file=sys.stderr)


def _dispatch(argv: list[str]) -> int:
    """Choose the command."""
    refuse_repeated(argv)
    if not argv or argv[0].startswith("-"):
        return 0 if commands.run(argv) else FAILED
    word, *others = argv
    commands.check_word(word, others)
    try:
        return FAILED if commands.function_of(word)(others) is False else 0
    except Answered:
        return 0


if __name__ == "__main__":
    sys.exit(main())

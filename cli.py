"""Redwood's command line: `python cli.py --setting class_incremental --method rehearsal`."""

import argparse
import contextlib
import os
import sys
import warnings

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0, 1 if a run of several failed, 2 for a usage error, 130 after an interrupt, 143 after SIGTERM, SIGUSR1 or SIGHUP.
    """
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *where, **more: f"warning: {message}\n"
    try:
        # Imported inside, as all else: an interrupt while that takes its time is told like any other.
        from redwood.runs.signals import stop_signals

        with stop_signals(interrupts=True):
            return _answer(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as interrupt:
        _say("interrupted", *interrupt.args)
        return INTERRUPTED
    finally:
        warnings.formatwarning = usual


def _answer(argv: list[str]) -> int:
    from redwood.core.errors import RedwoodError
    from redwood.runs.signals import Stopped

    try:
        status = _dispatch(argv)
        sys.stdout.flush()
        return status
    except RedwoodError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except Stopped as stop:
        folder = getattr(stop, "folder", None)
        _say("interrupted" if stop.code == INTERRUPTED else "terminated", *([folder] if folder else []))
        return int(str(stop.code))
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has seen enough; what is left must not fail when Python ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _say(what: str, *folder: object) -> None:
    """Tell that a signal has ended the run, and how to go on if there is something to go on with."""
    with contextlib.suppress(OSError):  # after SIGHUP there is no terminal
        print(f"{what}{''.join(f'; go on with --resume {path}' for path in folder)}", file=sys.stderr)


def _dispatch(argv: list[str]) -> int:
    from redwood.experiments.arguments import (
        UnknownOptionError,
        UsageError,
        general_help,
        option_names,
        parse_selection,
        refuse_repeated,
    )

    refuse_repeated(argv)
    chosen, rest = parse_selection(argv)
    if chosen.resume:
        return _resume(chosen, rest)
    if (chosen.list or chosen.version) and rest:
        raise UsageError(f"{'--list' if chosen.list else '--version'} goes alone; leave {rest[0]} out.")
    if chosen.version:
        from redwood import __version__

        print(__version__)
        return 0
    if chosen.list:
        return _list(as_json=chosen.json)
    file: str | None = chosen.config
    in_file = _read_config(file, option_names(argv), trusted=chosen.trust) if file else []
    if file:
        chosen, rest = parse_selection(in_file + argv)
    if chosen.help and not (chosen.setting and chosen.method):
        from redwood.methods import method_names
        from redwood.settings import setting_names

        print(general_help(setting_names(), method_names()))
        return 0
    if not (chosen.setting and chosen.method):
        missing = "--setting" if not chosen.setting else "--method"
        raise UsageError(f"{missing} is missing; for example --setting class_incremental --method rehearsal.")
    try:
        return _run(chosen, rest)
    except UnknownOptionError as error:
        if error.option not in {argument.partition("=")[0] for argument in in_file}:
            raise
        raise UsageError(f"{error} It is set in {file}; remove that line if it is another method's.") from None


def _read_config(file: str, given: set[str], *, trusted: bool) -> list[str]:
    """The options of a file as arguments; `given` are those that the command line has, too, in their place."""
    from pathlib import Path

    from redwood.experiments.arguments import as_arguments
    from redwood.experiments.runner import load_config
    from redwood.experiments.trust import refuse_untrusted
    from redwood.settings.config import refuse_marked

    config = load_config(Path(file))
    own = {name: value for name, value in config.items() if name not in given}
    refuse_marked(own, Path(file))
    if not trusted:
        refuse_untrusted(own, Path(file), "--config")
    return as_arguments(config)


def _list(as_json: bool) -> int:
    from redwood.experiments.listing import describe_settings, setting_tree

    if as_json:
        import json

        print(json.dumps(describe_settings(), indent=2))
    else:
        from rich.console import Console

        Console().print(setting_tree())
    return 0


def _resume(chosen: argparse.Namespace, rest: list[str]) -> int:
    from pathlib import Path

    from rich.console import Console

    from redwood.experiments.arguments import UsageError, parse_selection
    from redwood.experiments.comparison import resume_comparison
    from redwood.experiments.plan import is_comparison
    from redwood.experiments.runner import resume

    folder = Path(chosen.resume)
    nothing, _ = parse_selection(["--resume", chosen.resume])
    several = is_comparison(folder)
    nothing.trust = chosen.trust
    if several:
        nothing.jobs = chosen.jobs
    if rest or chosen != nothing:
        also = ", with --jobs at most, or --trust" if several else ", with --trust at most"
        raise UsageError(f"--resume goes on with what was started; give --resume {folder} alone{also}.")
    if several:
        return 0 if resume_comparison(folder, Console(), chosen.jobs, trusted=chosen.trust) else FAILED
    resume(folder, Console(), trusted=chosen.trust)
    return 0


def _run(chosen: argparse.Namespace, rest: list[str]) -> int:
    from rich.console import Console

    from redwood.experiments.comparison import compare, select_pairs
    from redwood.experiments.options import check_arguments, pair_help, parse_options
    from redwood.experiments.runner import run_pair

    pairs, reasons = select_pairs(chosen.setting, chosen.method, rest)
    if chosen.help:
        print(pair_help(pairs[0]))
        return 0
    console = Console()
    if "all" not in (chosen.setting, chosen.method):
        for reason in reasons:
            console.print(f"left out: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(pairs) > 1 or chosen.seeds > 1 or "all" in (chosen.setting, chosen.method):
        return 0 if compare(pairs, rest, chosen.seeds, console, chosen.jobs) else FAILED
    check_arguments(pairs, rest)
    run_pair(pairs[0], parse_options(pairs[0], rest), console)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`redwood.run` and `redwood.compare`: the command line's words as a call.

Keywords become arguments, which the command line's parser reads. Runs are those of the command line, too. They write
their folder if `run_dir` names one, and else nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, overload

from rich.console import Console

from redwood.core.errors import RedwoodError, lack_of_room, told_of_exit
from redwood.core.imports import only
from redwood.engine.launched import is_first_process
from redwood.engine.pair_results import PairResults
from redwood.engine.signals import Stopped, stop_signals
from redwood.engine.terminal import Terminal
from redwood.experiments import commands
from redwood.experiments.command_line import own_names
from redwood.experiments.command_line.arguments import UsageError, given_texts
from redwood.experiments.command_line.keywords import Named, read_keywords
from redwood.experiments.command_line.options import check_arguments, parse_options, with_own_options
from redwood.experiments.command_line.pairs import Pair, select_pairs
from redwood.experiments.comparisons import compare as comparisons
from redwood.experiments.comparisons.comparison import Comparison
from redwood.experiments.launchers.choice import LaunchOptions, launch_options
from redwood.experiments.runs import runner
from redwood.settings.scores.results import Results


@overload
def run(
    setting: Named | None = None, method: Named | None = None, *, seeds: int, **options: Any
) -> Results | PairResults: ...
@overload
def run(setting: Named | None = None, method: Named | None = None, **options: Any) -> Results: ...
def run(setting: Named | None = None, method: Named | None = None, **options: Any) -> Results | PairResults:
    """Run a method under a setting, as `python cli.py --setting S --method M` does.

    Args:
        setting: The setting: its key, `file.py:Class`, or a class.
        method: The method, in the same way; `"ewc+rehearsal"` joins two.
        **options: The options of the command line: those of the setting, the method, the run and their parts, such as
            `stream="rotated", angles=[0, 30]`. A value may be an object, such as a data set or a part. `run_dir` names
            the folder to write; without it, nothing is written. `async_` is `--async`.

    Returns:
        The results; with several `seeds` or with `class_orders`, those of all runs.

    Raises:
        RedwoodError: If an option is unknown or unusable, the method does not apply, or the run fails.
    """
    with _selected(setting, method, options) as chosen:
        if commands.is_for_several(chosen.pairs, chosen.asked):
            if len(chosen.pairs) > 1 or "all" in (chosen.asked.setting, chosen.asked.method):
                raise UsageError("run takes one setting and one method; call redwood.compare for several.")
            (pair,) = _compared(chosen).pairs
            if not pair.results:
                raise RedwoodError(str(pair.failure))
            return pair
        commands.refuse_launching(chosen.asked)
        made = parse_options(chosen.pairs[0], chosen.rest)
        results = runner.execute(made)
        if made.run.run_dir is not None and is_first_process():
            runner.report(Path(made.run.run_dir))
        return results


def compare(settings: Named | None = None, methods: Named | None = None, **options: Any) -> Comparison:
    """Compare methods under settings, as `python cli.py --setting a,b --method c,d` does.

    Args:
        settings: The settings: `"all"`, `"a,b"`, a class, or a list of keys and classes.
        methods: The methods, in the same way.
        **options: As of `redwood.run`; each pair takes its own ones. `seeds` is the number of runs of each pair, `jobs`
            that of runs at once. With objects or with classes of a script or a notebook, runs follow each other.

    Returns:
        The results of all pairs that apply. A run that fails is told by the `failure` of its pair.

    Raises:
        RedwoodError: If an option is unknown or unusable, or no method applies.
    """
    with _selected(settings, methods, options) as chosen:
        return _compared(chosen)


class _Chosen(NamedTuple):
    """The pairs of a call, the options that choose the runs, and all other options."""

    pairs: list[Pair]
    asked: Any
    rest: list[str]
    objects: Mapping[str, Any]


@contextmanager
def _selected(setting: Named | None, method: Named | None, options: Mapping[str, Any]) -> Iterator[_Chosen]:
    """Read the keywords; within the block, what the command line tells in one sentence is a `RedwoodError`."""
    arguments, objects = read_keywords(setting, method, options)
    try:
        with stop_signals(), only(None if options.get("trust") else arguments):
            chosen, reasons, in_file = _read(own_names.with_own_names(arguments), objects)
            with commands.told_of_file(chosen.asked, in_file):
                if len(chosen.pairs) == 1:
                    check_arguments(chosen.pairs, chosen.rest)
                commands.tell_left_out(chosen.asked, reasons, Terminal())
                yield chosen
    except Stopped:
        raise
    except SystemExit as request:
        raise RedwoodError(told_of_exit(request)) from request
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = lack_of_room(error)
        if sentence is None or isinstance(error, RedwoodError):
            raise
        raise RedwoodError(sentence) from error


def _read(arguments: list[str], objects: Mapping[str, Any]) -> tuple[_Chosen, list[str], Sequence[str]]:
    """What the arguments choose; why pairs are left out; and the options of a file."""
    asked, rest, in_file = commands.with_file(arguments)
    commands.check_names(asked, [one for one in rest if one.partition("=")[2] not in objects], arguments)
    pairs, reasons = select_pairs(asked.setting, asked.method, rest, objects)
    own = with_own_options(pairs, arguments)
    return _read(own, objects) if own != arguments else (_Chosen(pairs, asked, rest, objects), reasons, in_file)


def _compared(chosen: _Chosen) -> Comparison:
    folder = given_texts(chosen.rest).get("run_dir")
    if folder is not None:
        return _start(chosen, chosen.rest, reports=True)
    if chosen.asked.table is not None:
        raise UsageError(f"--table {chosen.asked.table} is written to a folder; name one by run_dir, or leave it out.")
    runner.refuse_no_folder()
    with TemporaryDirectory() as temporary:
        try:
            rest = [*chosen.rest, f"--run_dir={temporary}"]
            return replace(_start(chosen, rest, reports=False), folder=None)
        except runner.InterruptedRun:
            raise KeyboardInterrupt from None


def _start(chosen: _Chosen, rest: list[str], *, reports: bool) -> Comparison:
    asked = chosen.asked
    return comparisons.compare(
        chosen.pairs,
        rest,
        asked.seeds,
        Terminal(),
        _launching(chosen),
        n_orders=asked.class_orders,
        table=asked.table,
        tables=Console(quiet=True),
        reports=reports,
    )


def _launching(chosen: _Chosen) -> LaunchOptions:
    """The options of the launcher. Objects from Python stay in this process, as others may be unable to load them."""
    how = launch_options(chosen.asked)
    if not chosen.objects:
        return how
    if how.launcher not in (None, "here") or (how.jobs or 1) > 1:
        raise UsageError(
            f"{next(iter(chosen.objects))} cannot be sent to other processes; leave --jobs and --launcher out, or name "
            "it as file.py:Name."
        )
    return LaunchOptions("here")

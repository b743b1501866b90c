"""`redwood.run`, `redwood.compare` and `redwood.resume`: the command line's words as a call.

Keywords become arguments, which the command line's parser reads. Runs are those of the command line, too. They write
their folder if `run_dir` names one, and else nothing.
"""

import argparse
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, overload

from rich.console import Console
from torch import nn

from redwood.core.calls import errors_in_keywords, resume_call
from redwood.core.errors import RedwoodError, lack_of_room, told_of_exit
from redwood.core.imports import only
from redwood.core.parts import flat
from redwood.core.user_warnings import warn
from redwood.engine.launched import is_first_process
from redwood.engine.pair_results import PairResults
from redwood.engine.signals import Stopped, stop_signals
from redwood.engine.terminal import Terminal
from redwood.experiments import commands
from redwood.experiments.command_line import own_names
from redwood.experiments.command_line.arguments import UsageError, given_texts, invocation
from redwood.experiments.command_line.config_file import load_config
from redwood.experiments.command_line.keywords import Named, read_keywords
from redwood.experiments.command_line.options import check_arguments, parse_options, with_own_options
from redwood.experiments.command_line.pairs import Pair, select_pairs
from redwood.experiments.comparisons import compare as comparisons
from redwood.experiments.comparisons.comparison import Comparison
from redwood.experiments.launchers.choice import LaunchOptions, launch_options
from redwood.experiments.launchers.plan import ComparisonPlan, is_comparison
from redwood.experiments.runs import runner
from redwood.experiments.runs.given import FromPython
from redwood.experiments.sweeps.plan import is_sweep
from redwood.methods.base import Method
from redwood.settings.base import Setting
from redwood.settings.config import is_marked
from redwood.settings.scores.results import Results


@overload
def run(
    setting: Named | Setting | None = None, method: Named | Method | None = None, *, seeds: int, **options: Any
) -> Results | PairResults: ...
@overload
def run(setting: Named | Setting | None = None, method: Named | Method | None = None, **options: Any) -> Results: ...
@errors_in_keywords()
def run(
    setting: Named | Setting | None = None, method: Named | Method | None = None, **options: Any
) -> Results | PairResults:
    """Run a method under a setting, as `python cli.py --setting S --method M` does.

    Args:
        setting: The setting: its key, `file.py:Class`, or a class. An object gives its class and its options.
        method: The method, in the same way; `"ewc+rehearsal"` joins two. The object itself is not trained.
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


@errors_in_keywords()
def compare(
    settings: Named | Setting | None = None, methods: Named | Method | None = None, **options: Any
) -> Comparison:
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


@errors_in_keywords()
def resume(
    folder: str | os.PathLike[str],
    *,
    setting: Named | None = None,
    method: Named | None = None,
    trust: bool = False,
    **options: Any,
) -> Results | Comparison:
    """Go on with the run or the comparison in a folder, as `python cli.py resume FOLDER` does.

    The results are those of a run that was never stopped. Of a run that is complete, they are only read.

    Args:
        folder: The `run_dir` that was given to `redwood.run` or `redwood.compare`.
        setting: A class that only a notebook, a script or a function has; of a comparison, several.
        method: The same of methods, such as `method=Mine`.
        trust: Whether code that the files in the folder name may be run.
        **options: Options that may change, such as `quiet`, `accelerator` or `jobs`. And objects that were given from
            Python, such as `dataset`: a file cannot hold these, so give them again.

    Returns:
        The results of the run; or a comparison, also of a run with several seeds.

    Raises:
        RedwoodError: If there is nothing to go on with, an option may not change, a class or an object is missing, or
            code is not trusted.
        KeyboardInterrupt: After Ctrl-C; its text is the call that goes on.
    """
    path = Path(folder)
    arguments, objects = read_keywords(None, None, options)
    with _errors_in_one_sentence(None if trust else arguments):
        given, changes, what = commands.read_resume([str(path), *arguments], _lost_options(path))
        again = FromPython(setting, method, objects)
        if what == commands.RUN:
            return runner.resume_run(path, Console(quiet=True), changes, trusted=trust, given=again)
        if what == commands.BENCH or is_sweep(path):
            raise UsageError(f"{path} is no run and no comparison; go on with it by {invocation()} resume {path}.")
        held = [*objects, *(one for one in (setting, method) if one is not None)]
        return comparisons.resume_comparison(
            path,
            Terminal(),
            _launching(given, held),
            changes,
            trusted=trust,
            table=given.table,
            tables=Console(quiet=True),
            given=again,
        )


def _lost_options(folder: Path) -> list[str]:
    """The options of a run or a comparison that were given from Python, and that no file holds."""
    if is_comparison(folder):
        return ComparisonPlan.load(folder).objects
    file = folder / "config.yaml"
    config = flat(load_config(file, of_run=True)) if file.is_file() else {}
    return [name for name, value in config.items() if is_marked(value)]


class _Chosen(NamedTuple):
    """The pairs of a call, the options that choose the runs, and all other options."""

    pairs: list[Pair]
    asked: Any
    rest: list[str]
    objects: Mapping[str, Any]


@contextmanager
def _selected(
    setting: Named | Setting | None, method: Named | Method | None, options: Mapping[str, Any]
) -> Iterator[_Chosen]:
    """Read the keywords; within the block, errors are in one sentence."""
    arguments, objects = read_keywords(setting, method, options)
    with _errors_in_one_sentence(None if options.get("trust") else arguments):
        chosen, reasons, in_file = _read(own_names.with_own_names(arguments), objects)
        with commands.told_of_file(chosen.asked, in_file):
            if len(chosen.pairs) == 1:
                check_arguments(chosen.pairs, chosen.rest)
            commands.tell_left_out(chosen.asked, reasons, Terminal())
            yield chosen


@contextmanager
def _errors_in_one_sentence(named: Sequence[str] | None) -> Iterator[None]:
    """Within the block, what the command line tells in one sentence is a `RedwoodError`, or a `KeyboardInterrupt`.

    Args:
        named: Texts that name the code that may be imported; None: any code may be.
    """
    try:
        with stop_signals(interrupts=True), only(named):
            yield
    except runner.InterruptedRun as interrupt:
        told = [f"interrupted; go on with {resume_call(folder)}" for folder in interrupt.args]
        raise KeyboardInterrupt(*told) from None  # Python exits with 130 for this very class alone
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
    module = next((one for one in chosen.objects.values() if isinstance(one, nn.Module)), None)
    if module is not None and chosen.asked.seeds > 1:
        name = type(module).__name__
        warn(
            f"All seeds begin with the weights of the {name} that was given; give the class {name}, or a function that "
            "makes it, where each seed has to draw its own."
        )
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
        _launching(chosen.asked, chosen.objects),
        n_orders=asked.class_orders,
        table=asked.table,
        tables=Console(quiet=True),
        reports=reports,
    )


def _launching(asked: argparse.Namespace, objects: Collection[object]) -> LaunchOptions:
    """The options of the launcher. Objects from Python stay in this process, as others may be unable to load them."""
    how = launch_options(asked)
    if not objects:
        return how
    if how.launcher not in (None, "here") or (how.jobs or 1) > 1:
        raise UsageError(
            f"{next(iter(objects))} cannot be sent to other processes; leave --jobs and --launcher out, or name "
            "it as file.py:Name."
        )
    return LaunchOptions("here")

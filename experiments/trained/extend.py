"""`extend DIR`: a new run goes on from a finished one with more data, new classes included."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from redwood.core.calls import resume_call
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import all_options, flat, kinds_of
from redwood.engine.launched import is_first_process
from redwood.engine.may_change import MAY_CHANGE
from redwood.engine.run import Run
from redwood.engine.terminal import Terminal
from redwood.experiments.command_line.arguments import UsageError, given_texts
from redwood.experiments.command_line.config_file import as_arguments, load_config
from redwood.experiments.command_line.options import Options, check_arguments, pair_help, parse_options
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.experiments.runs.continuation import continued, plain_options, refuse_missing
from redwood.experiments.runs.given import NOTHING, FromPython
from redwood.experiments.runs.runner import run_pair
from redwood.experiments.runs.saved_run import SavedRun, pair_of, read_run
from redwood.settings.base import Setting
from redwood.settings.config import describe_options, is_marked
from redwood.settings.data.image_folder import only_task
from redwood.settings.data.sources import path_of


def extended_help(config: Path) -> str:
    """The options of the pair whose run a `config.yaml` describes."""
    saved = load_config(config, of_run=True)
    own = flat(saved, dict.fromkeys(("setting", "method", "extends"), ""))
    return pair_help(pair_of(saved), as_arguments({n: value for n, value in own.items() if not is_marked(value)}))


def extend(folder: Path, arguments: Sequence[str], *, trusted: bool) -> None:
    """Learn further data with the run in `folder`, in a new run, and print its results."""
    options = extended_options(folder, arguments, trusted=trusted)
    saved, console = read_run(folder), Terminal()
    kept = inherited(saved, given_texts(arguments))
    if kept and not options.run.quiet and is_first_process():
        console.print(f"options as in {folder}: {kept}", soft_wrap=True, markup=False, highlight=False)
    run_pair(saved.pair, options, console)


def inherited(saved: SavedRun, named: Mapping[str, str]) -> str:
    """The options that a new run takes over and that differ from the defaults, as arguments; empty if none does.

    Args:
        saved: The run that is extended.
        named: Options that are given for the new run.
    """
    classes = (*saved.pair.load(), Run)
    kept = plain_options(saved, {**named, **dict.fromkeys((*options_of_the_data(classes[0]), *MAY_CHANGE), "")})
    chosen = {name: kept[name] for cls in classes for name in kinds_of(cls) if name in kept}
    usual: dict[str, object] = {}
    for choices in (chosen, {}):  # defaults of the options of the chosen parts, and of the choices themselves
        made = parse_options(saved.pair, as_arguments(choices))
        usual |= flat(describe_options(made.setting) | describe_options(made.method) | describe_options(made.run))
    return shlex.join(as_arguments({name: own for name, own in kept.items() if own not in ("", usual.get(name))}))


def extended_options(
    folder: Path,
    arguments: Sequence[str],
    *,
    trusted: bool,
    dataset: Any = None,
    given: Mapping[str, object] | None = None,
    classes: FromPython = NOTHING,
) -> Options:
    """The options of a run that goes on from the one in `folder`.

    Args:
        folder: The folder of a finished run.
        arguments: Command-line options that differ from those of the run. They name the new data.
        trusted: Whether code that the folder names may be run.
        dataset: The new data, if it is in memory.
        given: Options of the method that were given from Python.
        classes: Classes that were given from Python.

    Raises:
        RedwoodError: If the run cannot be extended, or an option does not fit.
    """
    saved = read_run(folder).with_classes(classes)
    if not (folder / "results.json").exists():
        raise InvalidOptionError(f"The run in {folder} is not over; finish it by {resume_call(folder)} first.")
    if not trusted:
        refuse_untrusted(saved.options, folder / "config.yaml", "extend", saved.classes)
    refuse_missing(saved, given or {})
    named = given_texts(arguments)
    if dataset is None and not named.keys() & {"dataset", "stream"}:
        raise UsageError("extend learns from further data; name it by --dataset.")
    pair = saved.pair
    new = options_of_the_data(pair.load()[0])
    # Tables of one form share their columns.
    earlier = plain_options(saved, {name: text for name, text in named.items() if name != "dataset"})
    kept = {name: value for name, value in earlier.items() if name not in new}
    if "stream" in named and "dataset" not in named and not is_marked(saved.options.get("dataset")):
        kept["dataset"] = saved.options["dataset"]  # its transforms make further tasks
    arguments = [*arguments, *_inner_folder(named, kept, saved)]
    check_arguments([pair], arguments, beside=as_arguments(kept))
    options = parse_options(pair, [*as_arguments(kept), *arguments])
    for name, value in (given or {}).items():
        setattr(options.method, name, value)
    if dataset is not None:
        options = replace(options, setting=replace(cast("Any", options.setting), dataset=dataset))
    return continued(options, saved, trusted=trusted)


def _inner_folder(named: Mapping[str, str], kept: Mapping[str, object], saved: SavedRun) -> list[str]:
    """Return the option that names the folder of a task, where the named folder of images holds it alone."""
    if not named.get("dataset"):
        return []
    data_dir = named.get("data_dir") or str(kept.get("data_dir", "data"))
    classes = {name for own in saved.signature.classes.outputs for name in own}
    inner = only_task(path_of(named["dataset"], Path(data_dir).expanduser()), classes)
    return [] if inner is None else ["--dataset", str(inner)]


def options_of_the_data(setting: type[Setting]) -> set[str]:
    """Return the options that cut data into tasks; those of the earlier run are useless for new data."""
    kind = kinds_of(setting).get("stream")
    streams = [] if kind is None else map(kind.find, kind.offered_under(setting))
    return {"dataset", "stream", "nb_tasks", "slices"}.union(*(all_options(stream, setting) for stream in streams))

"""A run that goes on from a saved one: where its tasks begin, and what its method starts with."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from typing import Any, cast

from gymnasium.spaces import Box

from redwood.core.errors import DataError, InvalidOptionError, NotApplicableError, RedwoodError
from redwood.core.files import read_json
from redwood.core.parts import all_options, flat
from redwood.core.schema import Json
from redwood.core.user_warnings import warn
from redwood.engine.earlier import EarlierRun
from redwood.engine.fingerprint import differences
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.options import Options, parse_options
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.experiments.runs.saved_run import SavedRun
from redwood.settings.config import is_marked
from redwood.settings.data.parts import Images
from redwood.settings.streams.extended import Earlier, EarlierData
from redwood.settings.streams.supervised_stream import SupervisedStream
from redwood.settings.supervised import SupervisedSetting


def continued(options: Options, saved: SavedRun, *, trusted: bool) -> Options:
    """Let the setting and the run of `options` begin where a saved run ended.

    Args:
        options: Options of the new run.
        saved: The earlier run.
        trusted: Whether code that its `config.yaml` names may be run.

    Raises:
        RedwoodError: If runs under the setting cannot be extended.
    """
    setting = options.setting
    if not isinstance(setting, SupervisedSetting):
        raise NotApplicableError(
            f"A run under {saved.config['setting']} cannot be extended; extend a run of a supervised setting."
        )
    view = saved.signature.make_view(type(setting), workers=setting.workers)
    signature = saved.signature
    # Where one phase trains all tasks, and where earlier data was gone before, results are of the new tasks alone.
    one_phase_each = signature.num_tasks == saved.state["next_phase"] and signature.first_task == 0
    known = _data_of(saved, trusted) if one_phase_each else None
    trained = signature.first_task + signature.num_tasks
    earlier = Earlier(
        saved.identity,
        trained,
        signature.classes,
        cast("Box", view.observation_space),
        tuple(signature.view.get("feature_names", ())),
        known,
        _own_task_names(saved),
    )
    before = EarlierRun(str(saved.folder.resolve()), saved.state, saved.log, view, goes_on=known is not None)
    run = replace(options.run, context=replace(options.run.context, earlier=before))
    return replace(options, setting=setting.after(earlier), run=run)


def plain_options(saved: SavedRun, given: Mapping[str, str] | None = None) -> Json:
    """Return the options of a run without the setting, the method, options from Python, and options given anew."""
    own = flat(saved.config, dict.fromkeys(("setting", "method", "extends"), "") | dict(given or {}))
    return {name: value for name, value in own.items() if not is_marked(value)}


def refuse_missing(saved: SavedRun, given: Mapping[str, object]) -> None:
    """Raise `InvalidOptionError` if the method had options from Python that are not among those given now."""
    names = sorted(all_options(saved.pair.load()[1]) - given.keys())
    missing = [name for name in names if is_marked(saved.options.get(name))]
    if missing:
        told = " and ".join(f"{name} ({saved.options[name]})" for name in missing)
        again = ", ".join(f"{name}=..." for name in missing)
        raise InvalidOptionError(
            f"The run in {saved.folder} got its {told} from Python, which no file can hold; give "
            f"{'it' if len(missing) == 1 else 'them'} again, as in redwood.load(folder, {again})."
        )


def _data_of(saved: SavedRun, trusted: bool) -> EarlierData | None:
    """The data of a finished run; None, with a warning, if it is not there any more."""
    if not trusted:
        refuse_untrusted(saved.options, saved.folder / "config.yaml", "The earlier run of", saved.classes)
    if is_marked(saved.options.get("dataset")):
        _warn_of_untested(saved, "it was given from Python")
        return None
    try:
        return stream_of(saved, trusted=trusted).as_earlier()
    except UsageError:  # it names code that is not trusted
        raise
    except RedwoodError as error:  # it is gone, or does not fit the options any more
        _warn_of_untested(saved, str(error).rstrip("."))
        return None


def stream_of(saved: SavedRun, *, trusted: bool, dataset: Any = None) -> SupervisedStream:
    """Open the stream of a run under a supervised setting anew.

    Args:
        saved: The run.
        trusted: Whether code that its `config.yaml` names may be run.
        dataset: The data, if it was given from Python.

    Raises:
        RedwoodError: If the data is not there, or is not that of the run.
    """
    if not saved.data:
        raise DataError(
            f"{saved.folder} does not tell which data the run had, as an export has the model alone; name the folder "
            "of the run itself."
        )
    options = parse_options(saved.pair, as_arguments(plain_options(saved)))
    assert isinstance(options.setting, SupervisedSetting)
    if dataset is None:
        options = _of_its_folders(options, saved)
    else:
        options = replace(options, setting=replace(cast("Any", options.setting), dataset=dataset))
    if "extends" in saved.config:
        options = continued(options, saved.before(), trusted=trusted)
    assert isinstance(options.setting, SupervisedSetting)
    stream = options.setting.open_stream()
    changed = differences(saved.data, stream.fingerprint(), "the run", "the data now")
    if changed:
        raise DataError(f"The data of the run has changed: {changed}.")
    return stream


def _of_its_folders(options: Options, saved: SavedRun) -> Options:
    """The options of a run, whose folder of images is read as it was: months may have come since."""
    setting, names = options.setting, _own_task_names(saved)
    if not names or not isinstance(setting, SupervisedSetting) or not isinstance(setting.dataset, Images):
        return options
    return replace(options, setting=replace(setting, dataset=replace(setting.dataset, folders=names)))


def _own_task_names(saved: SavedRun) -> tuple[str, ...]:
    """The names of a run's tasks, such as folders of months; without tasks of a split, which are called by classes."""
    file, classes = saved.folder / "results.json", set(chain.from_iterable(saved.signature.classes.outputs))
    names = read_json(file).get("task_names", ()) if file.is_file() else ()
    return tuple(name for name in names if not classes.issuperset(name.split(", ")))


def _warn_of_untested(saved: SavedRun, reason: str) -> None:
    warn(f"The data of the run in {saved.folder} cannot be read ({reason}): what is forgotten of it is not measured.")

"""One run from the command line: its folder, its tables, and how it is resumed."""

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console

from redwood.core.calls import resume_call
from redwood.core.errors import RedwoodError
from redwood.core.parts import flat
from redwood.engine.fingerprint import differences
from redwood.engine.folder import RunFolder
from redwood.engine.folder_lock import LOCK_FILE
from redwood.engine.launched import is_first_process, launched_processes
from redwood.engine.names import short_name
from redwood.engine.run import Run
from redwood.engine.signals import Stopped
from redwood.experiments.command_line.arguments import UsageError, given_texts
from redwood.experiments.command_line.config_file import as_arguments, load_config
from redwood.experiments.command_line.options import Options, check_arguments, parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.command_line.trust import refuse_untrusted
from redwood.experiments.report.page import REPORT, write_report
from redwood.experiments.report.source import source_of_run
from redwood.experiments.report.tables import print_results
from redwood.experiments.runs.continuation import continued
from redwood.experiments.runs.given import NOTHING, FromPython
from redwood.experiments.runs.saved_run import read_run
from redwood.settings.config import refuse_marked
from redwood.settings.scores.results import Results

RUNS = Path("runs")
_GOES_ON = ("comparison.yaml", "sweep.yaml", "bench.json", "config.yaml")  # of folders that resume goes on with


class InterruptedRun(KeyboardInterrupt):
    """The user stopped a run; its argument is the folder of the run."""


class TerminatedRun(Stopped):
    """A signal such as SIGTERM stopped a run, as schedulers send it.

    Attributes:
        folder: The folder of the run, or None if it has none yet.
    """

    def __init__(self, folder: str | Path | None, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.folder = folder


def new_run_dir(label: str) -> Path:
    """Return the path of a new folder under `runs/`, named by the time and the label.

    Raises:
        UsageError: If a launcher has started several processes: each would find another folder.
    """
    refuse_no_folder()
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"
    path, count = RUNS / stem, 1
    while path.exists():
        count += 1
        path = RUNS / f"{stem}-{count}"
    return path


def refuse_no_folder() -> None:
    """Raise `UsageError` if processes of a launcher need a folder that they share, and none is named."""
    count = launched_processes()
    if count > 1:
        raise UsageError(f"--run_dir is missing: {count} processes that a launcher has started share one; name it.")


def label_of(pair: Pair) -> str:
    """A pair as part of a folder name: keys as they are, classes without their module or file."""
    return "-".join(short_name(name) for name in (pair.setting, pair.method))


def execute(options: Options) -> Results:
    """Apply the method to the setting, in the run's folder.

    Raises:
        InterruptedRun: If the user interrupts it.
        TerminatedRun: If another signal ends it.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return options.setting.apply(options.method, **_fields_of(options.run))
    except (KeyboardInterrupt, SystemExit) as stop:
        folder = options.run.run_dir
        begun = folder is not None and (Path(folder) / "config.yaml").exists()
        if isinstance(stop, Stopped) and stop.number != signal.SIGINT:
            raise TerminatedRun(folder if begun else None, stop.number) from None
        # Lightning makes an exit of an interrupt, and leaves interrupts switched off.
        if not isinstance(stop, KeyboardInterrupt | Stopped) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise InterruptedRun(*([folder] if begun else [])) from None


def _fields_of(run: Run) -> dict[str, object]:
    """The fields of a `Run`, as keyword arguments."""
    return {f.name: getattr(run, f.name) for f in fields(run)}


def refuse_used(folder: Path) -> None:
    """Raise `RedwoodError` if the folder of a comparison exists and is not empty, or is a file."""
    if folder.exists() and (not folder.is_dir() or any(path.name != LOCK_FILE for path in folder.iterdir())):
        goes_on = any((folder / name).is_file() for name in _GOES_ON)
        remedy = f"choose another one, or go on with it by {resume_call(folder)}" if goes_on else "choose another one"
        raise RedwoodError(f"--run_dir {folder} exists and is not an empty folder; {remedy}.")


def run_pair(pair: Pair, options: Options, console: Console) -> Results:
    """Run one pair, print its results, and write its report."""
    if options.run.run_dir is None:
        options = replace(options, run=replace(options.run, run_dir=str(new_run_dir(label_of(pair)))))
    results = execute(options)
    if is_first_process():
        earlier = options.run.context.earlier
        print_results(results, console, goes_on=options.run.resume or (earlier is not None and earlier.goes_on))
        report(Path(str(options.run.run_dir)))
        console.print(f"written to {options.run.run_dir}", markup=False, highlight=False, soft_wrap=True)
    return results


def report(folder: Path) -> None:
    """Write the page of a finished run into its folder."""
    write_report([source_of_run(folder)], folder / REPORT)


def refuse_other_results(results: Results, config: Mapping[str, object], folder: Path, source: str) -> None:
    """Raise `RedwoodError` if the results in a folder are those of a run with other options than `config`."""
    known = [name for name in config if name in results.options]  # a later version may have more options
    changed = differences(results.options, config, "the results", source, names=known)
    if changed:
        raise RedwoodError(
            f"{folder / 'results.json'} is of a run with other options ({changed}); undo that, or remove the file."
        )


def resume_run(
    folder: Path,
    console: Console,
    changes: Sequence[str] = (),
    *,
    trusted: bool = False,
    given: FromPython = NOTHING,
) -> Results:
    """Go on with the run in `folder`; a complete one is only shown.

    Args:
        folder: The run folder.
        console: Where to print.
        changes: Options of the command line that take the place of those in its `config.yaml`.
        trusted: Whether code that its `config.yaml` names may be run.
        given: What files cannot hold, and was given again; texts among the changes stand for its objects.

    Raises:
        RedwoodError: If `folder` is no run, or its files are damaged, of another run, or not trusted.
    """
    if not (folder / "config.yaml").is_file():
        raise RedwoodError(f"resume {folder}: there is no run in this folder (no config.yaml).")
    config = load_config(folder / "config.yaml", of_run=True)
    setting, method = config.get("setting"), config.get("method")
    if not (isinstance(setting, str) and isinstance(method, str)):
        raise RedwoodError(f"resume {folder}: its config.yaml names no setting and method; it is damaged.")
    if (folder / "results.json").exists():
        results = Results.load(folder / "results.json")
        refuse_other_results(results, flat(config), folder, "config.yaml")
        RunFolder(folder, resume=True, options_file="config.yaml").clean()
        if is_first_process():
            print_results(results, console)
            if not (folder / REPORT).exists():  # the run was stopped before it was written
                report(folder)
            console.print(
                f"{folder} is complete; nothing is left to do.", markup=False, highlight=False, soft_wrap=True
            )
        return results
    kept = flat(config, dict.fromkeys(("setting", "method", "extends"), "") | given_texts(changes))
    refuse_marked(kept, folder / "config.yaml")
    classes = given.classes({"setting": [setting], "method": [method]}, folder)
    if not trusted:
        refuse_untrusted(flat(config), folder / "config.yaml", "resume", classes)
    pair = Pair(setting, method, objects={**given.objects, **classes})
    arguments = [*as_arguments(kept), *changes]
    check_arguments([pair], arguments)
    options = parse_options(pair, arguments)
    if "extends" in config:
        before = read_run(str(config["extends"]))._replace(classes=classes)
        options = continued(options, before, trusted=trusted)
    return run_pair(pair, replace(options, run=replace(options.run, run_dir=str(folder), resume=True)), console)

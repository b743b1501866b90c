"""One run from the command line: its folder, its tables, and how it is gone on with."""

import signal
import time
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from redwood.core.errors import RedwoodError
from redwood.experiments.arguments import UsageError, as_arguments
from redwood.experiments.options import Options, Pair, check_arguments, parse_options
from redwood.experiments.tables import print_results
from redwood.experiments.trust import refuse_untrusted
from redwood.runs.fingerprint import differences
from redwood.runs.folder import RunFolder
from redwood.runs.launch import is_first_process, launched_processes
from redwood.runs.signals import Stopped
from redwood.settings.config import refuse_marked
from redwood.settings.results import Results

RUNS = Path("runs")
NOT_IN_FILES = ("config", "resume", "trust", "list", "json", "version", "help")


class InterruptedRun(KeyboardInterrupt):
    """The user stopped a run; its argument is the folder of the run."""


class TerminatedRun(Stopped):
    """A signal such as SIGTERM stopped a run, as schedulers send it.

    Attributes:
        folder: The folder of the run, or None if it has none yet.
    """

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(signal.SIGTERM)
        self.folder = folder


def new_run_dir(label: str) -> Path:
    """A folder under `runs/` that does not exist yet, named by the time and what is run.

    Raises:
        UsageError: If a launcher has started several processes, each of which would find another one.
    """
    count = launched_processes()
    if count > 1:
        raise UsageError(f"--run_dir is missing: {count} processes that a launcher has started share one; name it.")
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{label}"
    path, count = RUNS / stem, 1
    while path.exists():
        count += 1
        path = RUNS / f"{stem}-{count}"
    return path


def label_of(pair: Pair) -> str:
    """A pair as part of a folder name: keys as they are, classes without their module or file."""
    return "-".join(short_name(name) for name in (pair.setting, pair.method))


def short_name(name: str) -> str:
    """The name of a setting or method without its module or file; of a composed one, each part's."""
    return "+".join(part.rpartition(":")[2].rpartition("/")[2] for part in name.split("+"))


def short_names(names: Iterable[str]) -> dict[str, str]:
    """The short name of each, or the whole where two would have the same."""
    short = {name: short_name(name) for name in dict.fromkeys(names)}
    taken = list(short.values())
    return {name: text if taken.count(text) == 1 else name for name, text in short.items()}


def execute(options: Options) -> Results:
    """Apply the method to the setting, in the run's folder.

    Raises:
        InterruptedRun: If the user interrupts it.
        TerminatedRun: If another signal tells it to end.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        return options.setting.apply(options.method, **vars_of_run(options.run))
    except (KeyboardInterrupt, SystemExit) as stop:
        folder = options.run.run_dir
        begun = folder is not None and (Path(folder) / "config.yaml").exists()
        if isinstance(stop, Stopped) and stop.number != signal.SIGINT:
            raise TerminatedRun(folder if begun else None) from None
        # Lightning makes an exit of an interrupt, and leaves interrupts switched off.
        if not isinstance(stop, KeyboardInterrupt | Stopped) and not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, before)
        raise InterruptedRun(*([folder] if begun else [])) from None


def vars_of_run(run: Any) -> dict[str, Any]:
    """The fields of a `Run`, as keyword arguments."""
    return {f.name: getattr(run, f.name) for f in fields(run)}


def refuse_used(folder: Path) -> None:
    """Raise `RedwoodError` if the folder of a comparison exists and is not empty, or is a file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RedwoodError(f"--run_dir {folder} exists and is not an empty folder; choose another one.")


def run_pair(pair: Pair, options: Options, console: Console) -> Results:
    """Run one pair and print its results."""
    if options.run.run_dir is None:
        options = replace(options, run=replace(options.run, run_dir=str(new_run_dir(label_of(pair)))))
    results = execute(options)
    if is_first_process():
        print_results(results, console)
        console.print(f"written to {options.run.run_dir}", markup=False, highlight=False, soft_wrap=True)
    return results


class _KeysOnce(yaml.SafeLoader):
    """Reads plain values, and refuses a key that is set twice: only the last one would count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise RedwoodError(f"sets {key} twice; remove one of the lines.")
        return super().construct_mapping(node, deep)


def load_config(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of option names to values.

    Raises:
        RedwoodError: If the file is missing or is no such mapping, or names what only a command line can.
    """
    if path.is_dir():
        raise RedwoodError(f"The configuration file {path} is a folder; name the file in it, {path / 'config.yaml'}.")
    try:
        config = yaml.load(path.read_text(), Loader=_KeysOnce)
    except RedwoodError as error:
        raise RedwoodError(f"The configuration file {path} {error}") from None
    except OSError as error:
        raise RedwoodError(f"The configuration file {path} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RedwoodError(f"The configuration file {path} is not valid YAML; write lines like `lr: 0.1`.") from error
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise RedwoodError(f"The configuration file {path} has to hold lines like `lr: 0.1`.")
    for name in NOT_IN_FILES:
        if name in config:
            raise UsageError(f"In the configuration file {path}, {name} has no place; leave it out.")
    for key, value in config.items():
        problem = _problem_of_line(key, value)
        if problem is not None:
            raise RedwoodError(f"In the configuration file {path}, {key} {problem}.")
    return config


def _problem_of_line(key: str, value: Any) -> str | None:
    """What is wrong with a line of a configuration file: it sets one option, and holds no further ones."""
    parts = value if isinstance(value, list) else [value]
    if not key.isidentifier():
        return "is no name of an option; remove that line"
    if any(isinstance(part, dict | list) for part in parts):
        return "has to be a plain value or a list of these"
    # The command line would take it for another option, which nobody has looked at.
    if any(isinstance(part, str) and part.startswith("--") for part in parts):
        return "holds another option; give that a line of its own"
    return None


def refuse_other_results(results: Results, config: dict[str, Any], folder: Path, source: str) -> None:
    """Raise `RedwoodError` if the results in a folder are those of a run with other options than `config`."""
    known = [name for name in config if name in results.config]  # a later version may have more options
    changed = differences(results.config, config, "the results", source, names=known)
    if changed:
        raise RedwoodError(
            f"{folder / 'results.json'} is of a run with other options ({changed}); undo that, or remove the file."
        )


def resume(folder: Path, console: Console, *, trusted: bool = False) -> Results:
    """Go on with the run in `folder`; a complete one is only shown.

    Args:
        folder: The run directory.
        console: Where to print.
        trusted: Whether code that its `config.yaml` names may be run.

    Raises:
        RedwoodError: If `folder` is no run, or its files are damaged, of another run, or not trusted.
    """
    if not (folder / "config.yaml").is_file():
        raise RedwoodError(f"--resume {folder}: there is no run in this folder (no config.yaml).")
    config = load_config(folder / "config.yaml")
    if not all(isinstance(config.get(name), str) for name in ("setting", "method")):
        raise RedwoodError(f"--resume {folder}: its config.yaml names no setting and method; it is damaged.")
    if (folder / "results.json").exists():
        results = Results.load(folder / "results.json")
        refuse_other_results(results, config, folder, "config.yaml")
        RunFolder(folder, resume=True, options_file="config.yaml").clean()
        if is_first_process():
            print_results(results, console)
            console.print(
                f"{folder} is complete; nothing is left to do.", markup=False, highlight=False, soft_wrap=True
            )
        return results
    refuse_marked(config, folder / "config.yaml")
    if not trusted:
        refuse_untrusted(config, folder / "config.yaml", "--resume")
    pair, arguments = Pair(config.pop("setting"), config.pop("method")), as_arguments(config)
    check_arguments([pair], arguments)
    options = parse_options(pair, arguments)
    return run_pair(pair, replace(options, run=replace(options.run, run_dir=str(folder), resume=True)), console)

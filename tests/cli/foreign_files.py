"""Files in a run directory that are damaged, another run's or a stranger's, and what becomes of `resume` there."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml

from redwood.cli import main
from redwood.engine.checkpoints import read_checkpoint, write_checkpoint
from redwood.engine.folder import RunFolder
from redwood.engine.may_change import MAY_CHANGE
from tests.cli.command import content
from tests.small_runs import MEASURED

OPTIONS = ["--setting", "class_incremental", "--nb_tasks", "2", "--passes", "2", "--accelerator", "cpu", "--quiet"]
OPTIONS += ["--checkpoint_every", "20"]
BOUNDARY, INSIDE = "checkpoints/boundary.pt", "checkpoints/inside-phase-001.ckpt"
ONE_SENTENCE = re.compile(r"error: [^\n]*[.?\w)]\n")


class Stop(Exception):
    """Ends a run at once, as a kill would."""


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@dataclass(frozen=True)
class Bench:
    """Folders that files are taken from and put into; each change works on a copy.

    Attributes:
        whole: A run to its end.
        stopped: The same run, killed inside its second phase.
        compared: A comparison of two methods, whose second run was killed in the same way.
    """

    base: Path

    def __getattr__(self, name: str) -> Path:
        return self.base / name

    def build(self, *names: str) -> "Bench":
        """Make the folders, or those that are named."""
        self.base.mkdir(parents=True, exist_ok=True)
        single = {
            "whole": ["--method", "ewc"],
            "stopped": ["--method", "ewc"],
            "twin": ["--method", "ewc"],
            "other_seed": ["--method", "ewc", "--seed", "1"],
            "other_whole": ["--method", "ewc", "--seed", "1"],
            "other_lr": ["--method", "ewc", "--lr", "0.1"],
            "other_method": ["--method", "si"],
            "other_network": ["--method", "ewc", "--model", "simple_cnn"],
        }
        for name in names or [*single, "compared", "compared_whole"]:
            several = ["--method", "random,finetune", "--jobs", "1"]
            arguments = several if name.startswith("compared") else single[name]
            start([*OPTIONS, *arguments, "--run_dir", str(self.base / name)], stop="whole" not in name)
        return self


def start(arguments: list[str], *, stop: bool) -> None:
    """A run, or one that is killed after its last step, before it says that its second phase is over."""
    save = RunFolder.save

    def save_or_stop(folder: RunFolder, state: dict[str, Any], phase: int, log: str) -> None:
        if stop and phase == 2 and "random" not in str(folder.path):
            raise KeyboardInterrupt
        save(folder, state, phase, log)

    with patch.object(RunFolder, "save", save_or_stop):
        code, _ = call(arguments)
    assert code == (130 if stop else 0)


def call(arguments: list[str]) -> tuple[int, str]:
    """The exit code of the command line, and what it says on standard error."""
    said = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(said):
        code = main(arguments)
    return code, said.getvalue()


@dataclass(frozen=True)
class Case:
    """A change of a folder, and what is to be said of it.

    Attributes:
        name: What is wrong.
        base: The folder of the bench that is changed.
        change: Changes a copy of it, with the bench at hand.
        says: What the sentence holds; None if the run is to go on, and to end in the right results.
    """

    name: str
    base: str
    change: Callable[[Path, Bench], None]
    says: str | None = ""

    def __str__(self) -> str:
        return self.name


def outcome(case: Case, bench: Bench, folder: Path) -> str | None:
    """Resume a copy of the case's folder.

    Returns:
        What fell short; None if nothing did.
    """
    shutil.copytree(bench.base / case.base, folder)
    case.change(folder, bench)
    before = content(folder)
    try:
        code, said = call(["resume", str(folder), *(["--jobs", "1"] if case.base.startswith("compared") else [])])
    except BaseException as error:
        return f"a traceback: {type(error).__name__}: {error}"
    if case.says is None:
        whole = bench.base / ("compared_whole" if case.base.startswith("compared") else "whole")
        if code != 0:
            return f"exit code {code}: {said}"
        return None if measured(folder) == measured(whole) else "other results"
    if code != 2 or not ONE_SENTENCE.fullmatch(said) or case.says not in said:
        return f"exit code {code}: {said!r}"
    return None if content(folder) == before else "the folder has changed"


def measured(folder: Path) -> dict[str, Any]:
    """Results and logs of all runs in a folder, but for what a clock measured."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("results.json")):
        results = json.loads(path.read_text())
        for name in MEASURED:
            results["cost"].pop(name, None)
        results["config"] = {name: value for name, value in results["config"].items() if name not in MAY_CHANGE}
        found[str(path.relative_to(folder))] = results
    for path in sorted(folder.rglob("metrics.csv")):
        found[str(path.relative_to(folder))] = path.read_text()
    return found


# Changes.


def write(name: str, data: bytes) -> Callable[[Path, Bench], None]:
    """Put these bytes into a file."""

    def change(folder: Path, bench: Bench) -> None:
        (folder / name).write_bytes(data)

    return change


def cut(name: str, share: float) -> Callable[[Path, Bench], None]:
    """Keep the first part of a file."""

    def change(folder: Path, bench: Bench) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(share * len(whole))])

    return change


def flip(name: str, share: float) -> Callable[[Path, Bench], None]:
    """Flip one bit."""

    def change(folder: Path, bench: Bench) -> None:
        whole = bytearray((folder / name).read_bytes())
        whole[int(share * (len(whole) - 1))] ^= 16
        (folder / name).write_bytes(whole)

    return change


def remove(*names: str) -> Callable[[Path, Bench], None]:
    """Take files away."""

    def change(folder: Path, bench: Bench) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def folder_instead(name: str) -> Callable[[Path, Bench], None]:
    """A folder in the place of a file."""

    def change(folder: Path, bench: Bench) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def file_instead(name: str) -> Callable[[Path, Bench], None]:
    """A file in the place of a folder."""

    def change(folder: Path, bench: Bench) -> None:
        shutil.rmtree(folder / name)
        (folder / name).write_text("a")

    return change


def take(source: str, name: str, as_name: str | None = None) -> Callable[[Path, Bench], None]:
    """Put the file of another folder in place."""

    def change(folder: Path, bench: Bench) -> None:
        shutil.copy(bench.base / source / name, folder / (as_name or name))

    return change


def hold(name: str, value: Any, *, sealed: bool = False) -> Callable[[Path, Bench], None]:
    """A checkpoint that holds something else, as torch saves it or with a seal of its own."""
    save = write_checkpoint if sealed else torch.save
    return lambda folder, bench: save(value, folder / name)


def edit(name: str, change: Callable[[dict[str, Any]], Any], *, sealed: bool) -> Callable[[Path, Bench], None]:
    """Change the content of a checkpoint, and save it as torch does or with a seal."""

    def work(folder: Path, bench: Bench) -> None:
        state = read_checkpoint(folder / name, "")
        change(state)
        (write_checkpoint if sealed else torch.save)(state, folder / name)

    return work


def option(**values: Any) -> Callable[[Path, Bench], None]:
    """Edit options in config.yaml; None takes one out."""
    return _yaml("config.yaml", values)


def plan(**values: Any) -> Callable[[Path, Bench], None]:
    """Edit entries of comparison.yaml."""
    return _yaml("comparison.yaml", values)


def _yaml(name: str, values: dict[str, Any]) -> Callable[[Path, Bench], None]:
    def change(folder: Path, bench: Bench) -> None:
        entries = yaml.safe_load((folder / name).read_text()) | values
        entries = {key: value for key, value in entries.items() if value is not ...}
        (folder / name).write_text(yaml.safe_dump(entries))

    return change


def results(run: str = ".", **values: Any) -> Callable[[Path, Bench], None]:
    """Edit entries of results.json; a dictionary is merged into the entry."""

    def change(folder: Path, bench: Bench) -> None:
        entries = json.loads((folder / run / "results.json").read_text())
        for key, value in values.items():
            entries[key] = entries[key] | value if isinstance(value, dict) else value
        (folder / run / "results.json").write_text(json.dumps(entries))

    return change


def both(*changes: Callable[[Path, Bench], None]) -> Callable[[Path, Bench], None]:
    """One change after the other."""

    def change(folder: Path, bench: Bench) -> None:
        for one in changes:
            one(folder, bench)

    return change


def nothing(folder: Path, bench: Bench) -> None:
    """Leave all as it is."""


def set_in(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set one entry of nested dictionaries and lists."""

    def change(state: Any) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return change


def replace_text(name: str, pattern: str, text: str) -> Callable[[Path, Bench], None]:
    """Replace what matches a pattern in a text file."""

    def change(folder: Path, bench: Bench) -> None:
        (folder / name).write_text(re.sub(pattern, text, (folder / name).read_text()))

    return change

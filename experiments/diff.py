"""Why two results differ: `diff RUN RUN` names the first cause, then lists all differences.

Both `results.json` are read as plain values; no class that they name is imported.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text as Line

from redwood.core.calls import resume_call
from redwood.core.errors import RedwoodError
from redwood.core.files import read_json
from redwood.core.parts import flat
from redwood.core.schema import ANYTHING, Json, MapOf, Record, check
from redwood.core.state import State
from redwood.engine.fingerprint import portable
from redwood.engine.may_change import MAY_CHANGE
from redwood.engine.terminal import NOT_DEFINED, new_table
from redwood.settings.scores.results_schema import COUNT, REPRODUCTION

RESULTS, CONFIG = "results.json", "config.yaml"
_READ = Record({"seed": COUNT, "config": MapOf(ANYTHING), "metrics": MapOf(ANYTHING), "reproduction": REPRODUCTION})
# Entries of the file that are no scores, or that are compared one by one.
_NO_SCORES = {*_READ.entries, "setting", "method", "dataset", "cost", "versions", "results"}
_WEIGHTS, _WEIGHTS_FILE = ("network", "algorithm_state.parameters"), "weights_digest"  # entries of a method's state
_INPUTS = "inputs"
_LONGEST, _OF_COMMIT = 200, 12  # characters of a value, and of the hash of a commit
_ENVIRONMENT = {
    "commit": "commit of redwood",
    "checkout": "state of redwood's checkout",
    "device": "device",
    "processor": "processor",
    "instructions": "instruction set of the processor that torch uses",
    "threads": "number of threads of torch",
    "workers": "number of workers",
}


class Difference(NamedTuple):
    """A value that differs.

    Attributes:
        name: What it is.
        values: Its text in each run.
        place: The part of the run that it is of; empty: of the whole run.
    """

    name: str
    values: tuple[str, str]
    place: str = ""


def diff(first: Path, second: Path, console: Console) -> bool:
    """Print the first cause of the difference between two runs, and a table of all differences.

    Args:
        first: The folder of a finished run, or its `results.json`.
        second: Another one.
        console: Where to print.

    Returns:
        Whether the results are equal.

    Raises:
        RedwoodError: If one is not a finished run of this version of redwood.
    """
    paths, runs = (first, second), (_read(first), _read(second))
    effects = list(_effects(*runs))
    causes, others = _causes(*runs, effects), list(_changeable(*runs))
    console.print(Line(_sentence(causes, effects, paths)), soft_wrap=True)
    first_effects: dict[str, Difference] = {}
    for effect in effects:
        first_effects.setdefault(effect.name, effect)
    rows = [*causes, *others, *first_effects.values()]
    if rows:
        table = new_table("all differences", padding=2)
        for heading in ("", "first", *map(str, paths)):
            table.add_column(Line(heading), overflow="fold")
        for name, values, place in rows:
            table.add_row(*map(Line, (name, place, *values)))
        console.print()
        console.print(table)
    return not effects


def _read(path: Path) -> State:
    """The content of the results of a run."""
    file = path / RESULTS if path.is_dir() else path
    if not file.exists():
        if (path / CONFIG).is_file():
            raise RedwoodError(f"diff {path}: this run has no {RESULTS} yet; finish it by {resume_call(path)}.")
        raise RedwoodError(f"diff {path}: there is no run; give the folder of a finished run, or its {RESULTS}.")
    content = read_json(file)
    if isinstance(content, dict) and "config" in content and "reproduction" not in content:
        raise RedwoodError(
            f"diff {path}: its results have no digests, as of another version of redwood or of a run without a folder; "
            "run it again with --run_dir."
        )
    known = {name: content[name] for name in _READ.entries if name in content} if isinstance(content, dict) else content
    check(known, _READ, f"The file {file}", f"give the {RESULTS} of a run")
    found: State = content
    return found


def _sentence(causes: Sequence[Difference], effects: Sequence[Difference], paths: tuple[Path, Path]) -> str:
    """The first cause, in one sentence."""
    told = ""
    if causes:
        name, values, _ = causes[0]
        told = f"the {name} differs: {values[0]} in {paths[0]}, {values[1]} in {paths[1]}"
    if not effects:
        return f"The results are equal, although {told}." if told else "The results are equal."
    begins = f"{effects[0].place}, in the {effects[0].name}"
    if told:
        return f"{told[0].upper()}{told[1:]}; results differ first {begins}."
    return f"No recorded cause explains the difference, which begins {begins}; compare your own code, or repeat a run."


def _causes(a: State, b: State, effects: Sequence[Difference]) -> list[Difference]:
    """All that differs and may change results; what explains others comes first."""
    options, drawn = _options(a, b)
    facts = [
        Difference(f"data ({name})", values)
        for name, values in _differing(a["reproduction"]["data"], b["reproduction"]["data"])
    ]
    hardware = dict(_differing(_environment(a), _environment(b)))
    workers = [Difference(_ENVIRONMENT["workers"], hardware.pop("workers"))] if "workers" in hardware else []
    return [
        *options,
        *(Difference("seed", values) for _, values in _differing({"seed": a["seed"]}, {"seed": b["seed"]})),
        *drawn,
        *facts,
        *_weights_file(a, b),
        *workers,
        *_inputs(effects),
        *(Difference(_ENVIRONMENT.get(name, f"version of {name}"), values) for name, values in hardware.items()),
    ]


def _options(a: State, b: State) -> tuple[list[Difference], list[Difference]]:
    """The options that differ, but for the seed and those that may change; and the draws that stand beside them."""
    first, second = flat(a["config"]), flat(b["config"])
    found = [one for one in _differing(first, second) if one[0] not in MAY_CHANGE | {"seed"}]
    drawn = {name for name, _ in found if any(_is_drawn(config.get(name)) for config in (first, second))}
    options = [Difference(f"option {name}", values) for name, values in found if name not in drawn]
    return options, [Difference(f"draw of {name}", values) for name, values in found if name in drawn]


def _is_drawn(value: object) -> bool:
    """True if an entry of a configuration describes draws of the stream, and is no option."""
    return isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value)


def _weights_file(a: State, b: State) -> list[Difference]:
    """The file of `--weights`, if its bytes differ."""
    starts = [run["reproduction"]["start"] for run in (a, b)]
    if not all(_WEIGHTS_FILE in start for start in starts):
        return []
    found = _differing(*({_WEIGHTS_FILE: start[_WEIGHTS_FILE]} for start in starts))
    return [Difference("content of the file of weights", values) for _, values in found]


def _inputs(effects: Sequence[Difference]) -> list[Difference]:
    """The training data, if the runs differ first in what they are trained on."""
    if not effects or effects[0].name != _INPUTS:
        return []
    return [effects[0]._replace(name="training data (a sample, a label or their order)")]


def _environment(run: State) -> Json:
    """The environment of a run; of several sittings, all values in their order."""
    sittings = [sitting["environment"] for sitting in run["reproduction"]["sittings"]]
    found = {}
    for name in {name: None for sitting in sittings for name in sitting}:
        length = _OF_COMMIT if name == "commit" else None
        values = [value for value, _ in groupby(str(sitting.get(name, ""))[:length] for sitting in sittings)]
        found[name] = values[0] if len(values) == 1 else ", then ".join(map(_shown, values))
    return found


def _changeable(a: State, b: State) -> Iterator[Difference]:
    """The options that a run may go on without; the environment tells what they have come to."""
    for name, values in _differing(flat(a["config"]), flat(b["config"])):
        if name in MAY_CHANGE:
            yield Difference(f"option {name}", values)


def _effects(a: State, b: State) -> Iterator[Difference]:
    """The digests and scores that differ, in the order of the run."""
    both, (key, matrices) = (a["reproduction"], b["reproduction"]), _matrices(a, b)
    yield from _states("before training", both[0]["start"], both[1]["start"])
    rows = zip_longest(both[0]["phases"], both[1]["phases"], *matrices)
    for number, (one, other, row, other_row) in enumerate(rows, start=1):
        one, other, place = one or {}, other or {}, f"in phase {number}"
        for _, values in _differing({"": one.get("inputs")}, {"": other.get("inputs")}):
            yield Difference(_INPUTS, values, place)
        yield from _states(place, one.get("state", {}), other.get("state", {}))
        if row != other_row:
            yield Difference(f"scores ({key})", ("", ""), place)
    for name, values in _differing(a["metrics"], b["metrics"]):
        yield Difference(f"metric {name}", values, "at the end")
    names = [name for name in {**a, **b} if name not in _NO_SCORES and name != key and a.get(name) != b.get(name)]
    if names:
        yield Difference(f"entries {', '.join(names)} of {RESULTS}", ("", ""), "at the end")


def _matrices(a: State, b: State) -> tuple[str, tuple[list[object], list[object]]]:
    """The matrix of scores of both runs, and its name."""
    names = (name for name in (*a, *b) if name.endswith("_matrix") and not name.startswith("validation"))
    key = next(names, "")
    first, second = (one[key] if isinstance(one.get(key), list) else [] for one in (a, b))
    return key, (first, second)


def _states(place: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterator[Difference]:
    """The entries of the method's state that differ; the weights come last, since a buffer may explain them."""
    found = [(name, values) for name, values in _differing(a, b) if name != _WEIGHTS_FILE]
    for name, values in sorted(found, key=lambda entry: entry[0] in _WEIGHTS):
        yield Difference("weights" if name in _WEIGHTS else f"state of the method ({name})", values, place)


def _differing(a: Mapping[str, object], b: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The names whose values differ, and both as texts."""
    for name in {**a, **b}:
        if name not in a or name not in b or _compared(a[name]) != _compared(b[name]):
            values = a.get(name), b.get(name)
            short = _shown(values[0]), _shown(values[1])
            yield name, short if short[0] != short[1] else (str(values[0])[:_LONGEST], str(values[1])[:_LONGEST])


def _compared(value: object) -> object:
    """The value without the folder that a file lies in: the content of the file counts."""
    own = portable(value)
    return os.path.basename(own) if isinstance(own, str) and os.path.isabs(own) else own


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = NOT_DEFINED if value is None or value == "" else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

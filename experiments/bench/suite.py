"""Suites: YAML files of benches, each of which is a pair with its options, seeds, weight and expectations.

The design follows Milabench (Delaunay et al., "Introducing Milabench: Benchmarking Accelerators for AI", 2024). Entries
inherit from each other, and tags select some of them. An entry is not run if its name begins with an underscore.
"""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from redwood.core.errors import RedwoodError
from redwood.core.files import read_json, write_json
from redwood.core.parts import flat
from redwood.core.schema import Anything, ListOf, MapOf, Number, Record, Text, check
from redwood.experiments.command_line.arguments import MOST_RUNS, UsageError, selection_names
from redwood.experiments.command_line.config_file import as_arguments, load_entries
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers.plan import lasting
from redwood.settings.scores.cost import Cost
from redwood.settings.scores.measure import MEASURES

SHIPPED = Path(__file__).parent / "suites"
FORMAT, FILE = 1, "bench.json"
# Options of a run that the suite sets, or that write elsewhere.
_TAKEN = ("seed", "run_dir", "wandb", "logger")
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_ENTRY = Record(
    {
        "inherits": Text(),
        "setting": Text(),
        "method": Text(),
        "options": MapOf(Anything()),
        "seeds": Number(low=1, high=MOST_RUNS, whole=True),
        "weight": Number(low=0),
        "tags": ListOf(Text()),
        "enabled": Anything(),
        "expect": MapOf(ListOf(Number(optional=True), length=2)),
    },
    optional=frozenset({"inherits", "setting", "method", "options", "seeds", "weight", "tags", "enabled", "expect"}),
)
_STORED = Record({"bench": Number(whole=True), "suite": Text(), "benches": ListOf(MapOf(Anything()), least=1)})


# What the runs of a bench may measure: metrics of any kind of results, and costs.
EXPECTED = (
    "objective",
    "total_flops",
    "lca",
    *(name for measure in MEASURES.values() for name in measure.metrics),
    *(f"{part}validation_{key}" for key in MEASURES for part in ("", "average_")),
    *(f.name for f in fields(Cost) if f.name not in ("rehearsal", "flops")),
)


@dataclass(frozen=True)
class Bench:
    """One entry of a suite.

    Attributes:
        name: Its name, which names files, too.
        setting: Key of the setting.
        method: Key of the method.
        options: Options of setting, method and run, by name; those of parts stand beside the others.
        seeds: Number of runs, with the seeds 0, 1, ...
        weight: Its weight in both scores.
        tags: Words by which some benches of a suite are selected.
        expect: Metric or cost -> least and greatest value of its mean over the seeds; None: no limit.
    """

    name: str
    setting: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    expect: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    @property
    def pair(self) -> Pair:
        """The setting and the method of the bench."""
        return Pair(self.setting, self.method)

    def lasting(self) -> "Bench":
        """The bench by names that do not depend on the current folder."""
        pair = lasting(self.pair)
        return replace(self, setting=pair.setting, method=pair.method)

    @property
    def arguments(self) -> list[str]:
        """Its options as the command line has them."""
        return as_arguments(self.options)

    @property
    def work(self) -> tuple[object, ...]:
        """The setting, method, options and seeds; benches of two suites compare only if these are equal."""
        return self.setting, self.method, dict(self.options), self.seeds

    @property
    def runs(self) -> list[str]:
        """The name of each of its runs."""
        return [f"{self.name}-seed{seed}" for seed in range(self.seeds)]


@dataclass(frozen=True)
class Suite:
    """The enabled benches of a suite."""

    name: str
    benches: tuple[Bench, ...]

    def select(self, words: Collection[str]) -> "Suite":
        """The benches that have one of the words as their name or as a tag; all of them if there is no word.

        Raises:
            UsageError: If a word fits none.
        """
        known = {word for bench in self.benches for word in (bench.name, *bench.tags)}
        for word in words:
            if word not in known:
                raise UsageError(f"--select {word} is no bench and no tag of {self.name}; it has {_listed(known)}.")
        chosen = tuple(b for b in self.benches if not words or not {b.name, *b.tags}.isdisjoint(words))
        return Suite(self.name, chosen)

    def save(self, folder: Path) -> None:
        """Write the suite to the folder of its runs."""
        content = {"bench": FORMAT, "suite": self.name, "benches": [asdict(bench) for bench in self.benches]}
        try:
            write_json(folder / FILE, content)
        except OSError as error:
            raise RedwoodError(f"--run_dir {folder} cannot be written ({error.strerror}).") from error


def is_shipped(name: str) -> bool:
    """True if redwood ships a suite of this name."""
    return (SHIPPED / f"{name}.yaml").is_file()


def is_bench(folder: Path) -> bool:
    """True if a suite was run in this folder."""
    return (folder / FILE).is_file()


def load_suite(folder: Path) -> Suite:
    """Read what `Suite.save` wrote.

    Raises:
        RedwoodError: If the folder holds no suite, or the file is damaged or of another version.
    """
    if not is_bench(folder):
        raise RedwoodError(f"{folder} holds no run of a suite ({FILE} is missing); give the folder of one.")
    content = read_json(folder / FILE)
    if isinstance(content, dict) and content.get("bench", FORMAT) != FORMAT:
        raise RedwoodError(f"{folder / FILE} was written by another version of redwood; run the suite anew.")
    check(content, _STORED, str(folder / FILE), "run the suite anew")
    return Suite(content["suite"], tuple(_stored(entry, folder / FILE) for entry in content["benches"]))


def _stored(entry: dict[str, Any], source: Path) -> Bench:
    name = entry.pop("name", None)
    check(entry, _ENTRY, str(source), "run the suite anew")
    check({"name": name}, Record({"name": Text(pattern=_NAME)}), str(source), "run the suite anew")
    return _bench(name, entry, source)


def read_suite(given: str, option: str = "bench", folder: Path = SHIPPED) -> Suite:
    """Read a suite from a YAML file, or a shipped one by its name.

    Args:
        given: The file or the name.
        option: The option that names it, for error messages.
        folder: Where the shipped suites of this option are.

    Raises:
        UsageError: If there is none, or an entry of it is not as it should be.
    """
    path = Path(given)
    if not path.suffix and (folder / f"{given}.yaml").is_file():
        path = folder / f"{given}.yaml"
    if not path.is_file():
        shipped = _listed(found.stem for found in folder.glob("*.yaml"))
        also = " the folder of a run," if option == "bench" else ""
        raise UsageError(f"{option} {given} is no suite; give a YAML file,{also} or one of {shipped}.")
    content = load_entries(path, f"{option} {given}", "entries such as those of smoke.yaml")
    for name, entry in content.items():
        if not isinstance(name, str) or not re.fullmatch(_NAME, name.removeprefix("_")):
            raise UsageError(f"{option} {given}: {name} cannot name a bench; use letters, digits, and . _ + -")
        for key in entry if isinstance(entry, Mapping) else ():
            if key not in _ENTRY.entries:
                near = difflib.get_close_matches(str(key), _ENTRY.entries, n=1)
                hint = f"did you mean {near[0]}?" if near else f"choose from {_listed(_ENTRY.entries)}."
                raise UsageError(f"{option} {given}: {name} holds {key}; {hint}")
        problem = _ENTRY.problem(entry, name)
        if problem is not None:
            raise UsageError(f"{option} {given}: {problem}; correct it.")
    resolved = {name: _inherited(name, content, f"{option} {given}", ()) for name in content}
    enabled = {name: entry for name, entry in resolved.items() if name[0] != "_" and entry.get("enabled", True)}
    if not enabled:
        raise UsageError(f"{option} {given} has no enabled bench; add one whose name has no underscore in front.")
    return Suite(path.stem, tuple(_bench(name, entry, path, option) for name, entry in enabled.items()))


def _inherited(name: str, content: Mapping[str, Any], given: str, below: tuple[str, ...]) -> dict[str, Any]:
    """An entry with what it inherits: its own keys replace inherited ones; options and expectations are merged.

    `enabled` is not inherited: who switches one bench off does not mean others.
    """
    entry = dict(content[name])
    parent = entry.pop("inherits", None)
    if parent is None:
        return entry
    if parent not in content or parent in (*below, name):
        problem = "inherits from itself" if parent in content else f"inherits {parent}, which is not there"
        raise UsageError(f"{given}: {name} {problem}; correct its line `inherits`.")
    base = _inherited(parent, content, given, (*below, name))
    base.pop("enabled", None)
    return base | entry | {key: _merged(name, content, key) for key in ("options", "expect") if key in base}


def _merged(name: str, content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the options or the expectations of an entry, merged with its ancestors'; the nearest one counts."""
    merged: dict[str, Any] = {}
    parent: str | None = name
    while parent is not None:
        merged = flat(content[parent].get(key, {}), merged) | merged
        parent = content[parent].get("inherits")
    return merged


def _bench(name: str, entry: Mapping[str, Any], source: Path, option: str = "bench") -> Bench:
    for key in ("setting", "method"):
        if key not in entry:
            raise UsageError(f"{option} {source}: {name} has no {key}; add one.")
    if not isinstance(entry.get("enabled", True), bool):
        raise UsageError(f"{option} {source}: enabled of {name} has to be true or false.")
    options = flat(entry.get("options", {}))
    taken = [option for option in (*_TAKEN, *selection_names()) if option in options]
    if taken:
        raise UsageError(f"{option} {source}: {name} sets the option {taken[0]}, which is no option of a bench's runs.")
    for metric, (low, high) in entry.get("expect", {}).items():
        if metric not in EXPECTED:
            near = difflib.get_close_matches(metric, EXPECTED, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {_listed(EXPECTED)}."
            raise UsageError(f"{option} {source}: {name} expects {metric}, which no run measures; {hint}")
        if low is not None and high is not None and low > high:
            raise UsageError(f"{option} {source}: {name} expects {metric} in [{low}, {high}]; the least comes first.")
    return Bench(
        name,
        entry["setting"],
        entry["method"],
        options,
        entry.get("seeds", 1),
        float(entry.get("weight", 1)),
        tuple(entry.get("tags", ())),
        {metric: (low, high) for metric, (low, high) in entry.get("expect", {}).items()},
    )


def _listed(words: Any) -> str:
    return ", ".join(sorted(words))

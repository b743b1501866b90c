"""Read a suite, in the format of `bench`, and choose the options of the methods of `--method`.

The parts of a method may come in any order. A method without its own entry gets the options of another entry of its
agent: the one that shares most parts with it.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from redwood.core.parts import all_options
from redwood.core.printable import printable
from redwood.experiments.bench.suite import Bench, Suite, read_suite
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import as_arguments
from redwood.experiments.command_line.trust import options_of, refuse_untrusted
from redwood.methods.lookup import get_method
from redwood.methods.table import AGENT_PARTS

FOLDER = Path(__file__).parent
# Suites that are known by name, and why they cannot run.
UNAVAILABLE = {
    "coom": "COOM imports gymnasium.wrappers.FrameStack, which gymnasium 1.0 has removed, and its package COOM 1.0.0 "
    "of PyPI holds no code; run COOM with pip install 'gymnasium<1' vizdoom from its repository",
}


def suite_arguments(
    given: str, setting: str | None, method: str | None, own: Collection[str], *, trusted: bool
) -> list[str]:
    """Return the options that a suite gives to some methods, as command-line arguments.

    Args:
        given: The value of `--suite`: a name or a YAML file.
        setting: The value of `--setting`, which overrides that of the suite; None if it is not given.
        method: The value of `--method`, such as `ppo` or `ppo,ppo+ewc`.
        own: Names of the options on the command line, which override those of the suite.
        trusted: Whether code that the file names may be run.

    Raises:
        UsageError: If there is no such suite, it has no such method, or it gives two methods different options.
    """
    suite = _read(given)
    chosen = _entries(suite, given, method)
    if not trusted and Path(given).is_file():
        for one in chosen.values():
            refuse_untrusted({"setting": one.setting, **options_of(one.arguments)}, Path(given), "--suite")
    options: dict[str, object] = {} if setting else {"setting": _same(given, "setting", _values(chosen, "setting"))}
    names = dict.fromkeys(name for one in chosen.values() for name in one.options)
    for name in names:
        if name not in own:
            values = {key: one.options[name] for key, one in chosen.items() if name in one.options}
            options[name] = _same(given, name, values)
    arguments = as_arguments(options)
    print(printable(f"suite {suite.name}: --method {method} {' '.join(arguments)}"))
    return arguments


def _read(given: str) -> Suite:
    if given in UNAVAILABLE:
        raise UsageError(f"--suite {given} cannot run: {UNAVAILABLE[given]}.")
    return read_suite(given, "--suite", FOLDER)


def _entries(suite: Suite, given: str, method: str | None) -> dict[str, Bench]:
    """The entry of each method."""
    known = _by_parts(suite, given)
    listed = ", ".join(bench.method for bench in known.values())
    if method is None:
        raise UsageError(f"--suite {given} needs --method; it has options for {listed}.")
    found: dict[str, Bench] = {}
    for name in method.split(","):
        parts = frozenset(name.split("+"))
        agent = parts - AGENT_PARTS.keys()
        alike = [own for own in known if own - AGENT_PARTS.keys() == agent]
        if not alike:
            near = difflib.get_close_matches(name, [bench.method for bench in known.values()], n=1)
            hint = f"did you mean {near[0]}? It" if near else "it"
            raise UsageError(f"--suite {given} has no options for {name}; {hint} has some for {listed}.")
        best = max(alike, key=lambda own: (len(own & parts), -len(own - parts)))
        found[name] = known[best] if best <= parts else _without_others(known[best], name)
        missing = [part for part in name.split("+") if part not in best]
        if best != parts:
            defaults = f"; {', '.join(missing)} has redwood's defaults, as no options are published" if missing else ""
            print(printable(f"suite {suite.name}: {name} has the options of {known[best].method}{defaults}."))
    return found


def _without_others(entry: Bench, method: str) -> Bench:
    """The entry without the options that only its own parts have."""
    theirs, ours = (all_options(get_method(name)) for name in (entry.method, method))
    lost = theirs - ours
    return replace(entry, options={name: value for name, value in entry.options.items() if name not in lost})


def _by_parts(suite: Suite, given: str) -> dict[frozenset[str], Bench]:
    """The entries by the parts of their methods."""
    known: dict[frozenset[str], Bench] = {}
    for bench in suite.benches:
        parts = frozenset(bench.method.split("+"))
        if parts in known:
            raise UsageError(
                f"--suite {given} has two entries of one method, {known[parts].name} and {bench.name} "
                f"({bench.method}); remove one, or give it another method."
            )
        known[parts] = bench
    unused = [
        name
        for name, default in (("seeds", 1), ("expect", {}))
        if any(getattr(b, name) != default for b in suite.benches)
    ]
    if unused:
        print(printable(f"suite {suite.name}: {' and '.join(unused)} only count under bench; repeat a run by --seeds."))
    return known


def _values(chosen: Mapping[str, Bench], name: str) -> dict[str, Any]:
    return {key: getattr(one, name) for key, one in chosen.items()}


def _same(given: str, name: str, values: Mapping[str, object]) -> Any:
    """The value that all methods have."""
    (first, value), *others = values.items()
    for other, different in others:
        if different != value:
            raise UsageError(
                f"--suite {given} gives --{name} {value} to {first}, and {different} to {other}; give --{name}, or run "
                "one method after the other."
            )
    return value

"""Runs of several folders, grouped into pairs; labels tell pairs of the same names apart."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from redwood.core.parts import all_options
from redwood.core.schema import Json
from redwood.engine.names import short_name, short_names
from redwood.engine.pair_results import PairResults, RunKey, run_key
from redwood.engine.run import Run
from redwood.experiments.report.source import FinishedRun, Source
from redwood.settings import SETTINGS, get_setting
from redwood.settings.scores.results import Results

# Entries of a configuration that do not tell pairs apart: names, values of one run, draws of its stream, and options of
# the machine.
_OF_EACH_RUN = {"setting", "method", "seed", "class_order", "class_order_seed", "extends", "task_list", "task_physics"}
_OF_THE_MACHINE = all_options(Run) - {"precision"}
_NO_SCORES = {"cost", "versions", "config", "reproduction"}  # entries of a file of results
_MAX_VALUE, _MAX_OPTIONS = 24, 4  # letters of a value in a label, and options in it

Options = Mapping[str, object]


@dataclass(frozen=True)
class Entry:
    """The runs of one pair with one set of options.

    Attributes:
        setting: Label of the setting, with the options that other entries have in another way.
        method: Label of the method, likewise.
        runs: The finished runs, by seed.
        failure: Why runs failed, in one sentence; None if none did.
        ran_under: See `PairResults`.
        missing: Likewise.
    """

    setting: str
    method: str
    runs: Sequence[FinishedRun]
    failure: str | None
    ran_under: str | None
    missing: int

    @property
    def results(self) -> PairResults:
        """The same as tables, figures and tests have it."""
        runs = [run.results for run in self.runs]
        return PairResults(self.setting, self.method, runs, self.failure, self.ran_under, self.missing)


@dataclass(frozen=True)
class _Part:
    """The runs of a pair in one folder."""

    source: int
    setting: str
    method: str
    options: Options
    runs: tuple[FinishedRun, ...]
    failure: str | None
    ran_under: str | None
    missing: int


def entries_of(sources: Sequence[Source]) -> tuple[list[Entry], list[str]]:
    """The pairs of some folders, each with a label of its own.

    Runs of one pair with the same options are joined if all of their seeds differ. A run that two folders hold with
    equal results counts once. Where the results of one seed differ, the runs are kept apart. A sentence tells both.

    Returns:
        The pairs, and the sentences.
    """
    parts = [part for number, source in enumerate(sources) for part in _parts(number, source)]
    groups: dict[str, list[_Part]] = {}
    for part in parts:
        groups.setdefault(_identity(part), []).append(part)
    joined, notes, twice = [], [], []
    for group in groups.values():
        once = _counted_once(group)
        pair = f"{short_name(group[0].setting)} / {short_name(group[0].method)}"
        if once is not None:
            joined.append((once, ""))
            twice += [pair] * (once != group)
            continue
        folders = [str(sources[part.source].folder) for part in group]
        names = _folder_names(folders)
        joined += [([part], names[folder]) for part, folder in zip(group, folders, strict=True)]
        notes.append(f"{pair}: {' and '.join(folders)} hold other results of the same seed; they are kept apart.")
    if twice:
        notes.append(f"Runs with equal options and results count once: {', '.join(twice)}.")
    return _labelled(joined), notes


def _counted_once(group: Sequence[_Part]) -> list[_Part] | None:
    """The parts without runs that an earlier part has, too; None if the results of two runs of a seed differ."""
    known: dict[RunKey, Results] = {}
    found = []
    for part in group:
        results = [(run_key(run.results), run.results) for run in part.runs]
        if any(_scores(run) != _scores(known[key]) for key, run in results if key in known):
            return None
        found.append(replace(part, runs=tuple(run for run in part.runs if run_key(run.results) not in known)))
        known = dict(results) | known
    return found


def _scores(run: Results) -> Json:
    """The results of a run without its costs, options, software and digests."""
    return {name: value for name, value in run.to_dict().items() if name not in _NO_SCORES}


def _parts(number: int, source: Source) -> Iterable[_Part]:
    for pair in source.pairs:
        runs: dict[str, list[FinishedRun]] = {}
        ran_under = source.bounds.get(pair)
        named = (ran_under or pair[0], pair[1])  # in results
        for run in sorted(source.runs, key=lambda run: run.results.seed):
            if (run.results.setting, run.results.method) == named:
                runs.setdefault(json.dumps(_options(run), sort_keys=True, default=str), []).append(run)
        missing = source.missing.get(pair, 0)
        for group in runs.values():
            options = {**_options(group[0]), **_shared_order(group)}
            yield _Part(number, *pair, options, tuple(group), source.failures.get(pair), ran_under, missing)
            missing = 0
        if not runs:
            yield _Part(number, *pair, {}, (), source.failures.get(pair), ran_under, missing)


def _options(run: FinishedRun) -> Options:
    """Return the options that decide the results of a run, besides its seed."""
    return {name: value for name, value in run.results.options.items() if name not in _OF_EACH_RUN | _OF_THE_MACHINE}


def _shared_order(runs: Sequence[FinishedRun]) -> Options:
    """The order of classes as an option if all runs have it; runs of several orders are runs of one pair."""
    orders = [run.results.options.get("class_order") for run in runs]
    return {"class_order": orders[0]} if orders[0] and all(order == orders[0] for order in orders) else {}


def _identity(part: _Part) -> str:
    return json.dumps([part.setting, part.method, part.options, part.ran_under], sort_keys=True, default=str)


def _labelled(joined: Sequence[tuple[list[_Part], str]]) -> list[Entry]:
    """Entries with labels: the short name, and in brackets the options that differ between entries of that name."""
    parts = [group[0] for group, _ in joined]
    of_setting = {setting: _setting_options(setting) for setting in {part.setting for part in parts}}
    settings, methods = short_names(part.setting for part in parts), short_names(part.method for part in parts)
    in_setting = [{k: v for k, v in part.options.items() if k in of_setting[part.setting]} for part in parts]
    in_method = [{k: v for k, v in part.options.items() if k not in of_setting[part.setting]} for part in parts]
    setting_labels = _tell_apart([settings[part.setting] for part in parts], in_setting)
    method_labels = _tell_apart([methods[part.method] for part in parts], in_method)
    entries: list[Entry] = []
    for (group, folder), setting, method in zip(joined, setting_labels, method_labels, strict=True):
        runs = sorted((run for part in group for run in part.runs), key=lambda run: run.results.seed)
        failures = list(dict.fromkeys(part.failure for part in group if part.failure))
        label = f"{method} [{folder}]" if folder else method
        missing = sum(part.missing for part in group)
        entries.append(Entry(setting, label, runs, "; ".join(failures) or None, group[0].ran_under, missing))
    return _numbered(entries)


def _numbered(entries: Sequence[Entry]) -> list[Entry]:
    """Add a number to labels that are still equal, such as the labels of a pair that failed in one folder."""
    seen: Counter[tuple[str, str]] = Counter()
    kept = []
    for entry in sorted(entries, key=lambda entry: not entry.runs):
        seen[entry.setting, entry.method] += 1
        number = seen[entry.setting, entry.method]
        kept.append((entry, entry if number == 1 else replace(entry, method=f"{entry.method} #{number}")))
    order = {id(entry): place for place, entry in enumerate(entries)}
    return [named for entry, named in sorted(kept, key=lambda pair: order[id(pair[0])])]


def _setting_options(setting: str) -> set[str]:
    """Return the options of a setting. A setting in a file is not imported: it gets those of all built-in settings."""
    names = [setting] if setting in SETTINGS else list(SETTINGS)
    return set().union(*(all_options(get_setting(name), get_setting(name)) for name in names))


def _tell_apart(names: Sequence[str], options: Sequence[Options]) -> list[str]:
    """Return the names, each with the options in brackets that differ between entries of that name."""
    labels = []
    for name, own in zip(names, options, strict=True):
        others = [other for twin, other in zip(names, options, strict=True) if twin == name and other]
        differing = [key for key in own if any(other.get(key) != own[key] for other in others)]
        values = ", ".join(
            [f"{key}={_short(own[key])}" for key in differing[:_MAX_OPTIONS]] + ["…"] * (len(differing) > _MAX_OPTIONS)
        )
        labels.append(f"{name} ({values})" if values else name)
    return labels


def _short(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _MAX_VALUE else f"…{text[-_MAX_VALUE:]}"


def _folder_names(folders: Sequence[str]) -> dict[str, str]:
    """The last part of each folder's path, or the whole path where two would have the same."""
    last = {folder: folder.rstrip("/").rpartition("/")[2] for folder in folders}
    taken = list(last.values())
    return {folder: name if taken.count(name) == 1 else folder for folder, name in last.items()}

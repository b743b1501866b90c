"""Put a command line into the words of redwood where it uses those of another library: see `core/peer_words.py`.

A word is replaced if it means exactly the same, and if nothing of redwood, a package or the user has that name. So is a
name in another spelling: capitals, hyphens and underscores do not count.
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import NoReturn

from redwood.core.peer_words import answer, plain, same
from redwood.core.registry import known_names
from redwood.experiments.command_line.arguments import UsageError, commands, given_texts, option_names, tell
from redwood.experiments.stored_tree import stored_reason
from redwood.methods.table import method_names
from redwood.settings.data.sources import path_of
from redwood.settings.data.table import DATASETS, ENTRY_POINTS
from redwood.settings.table import setting_names

_KINDS = {"--setting": "setting", "--method": "method", "--dataset": "data set"}
_SPLIT = re.compile("^(split|seq)")  # a benchmark of classes in tasks, behind which the data set is named
_FILES = {"config", "preset", "suite"}  # options whose files may choose setting and method


def with_own_names(arguments: Sequence[str]) -> list[str]:
    """Replace names of settings, methods and data sets, and those of the options that choose the first two.

    Args:
        arguments: The command line.
    """
    given = option_names(arguments)
    missing = [] if _FILES & given else [f"--{name}" for name in ("setting", "method") if name not in given]
    own = with_own_options(arguments, missing)
    texts = given_texts(own)
    known: dict[str, Collection[str]] = {"setting": setting_names(), "method": method_names()}
    if not path_of(texts.get("dataset", ""), Path(texts.get("data_dir", "data")).expanduser()).exists():
        known["data set"] = known_names("data set", DATASETS, ENTRY_POINTS)
    found = [_own_value(before, argument, known) for before, argument in pairwise(["", *own])]
    for before, theirs, ours in zip(["", *own], own, found, strict=False):
        if ours != theirs:
            option, equals, text = theirs.partition("=")
            option, text = (option, text) if equals else (before, theirs)
            _tell(f"{option} {text} is {option} {ours.rpartition('=')[2]} in redwood", arguments)
    return found


def with_own_options(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """Replace names of options.

    Args:
        arguments: The command line.
        known: The options that there are, such as `--lr`.
    """
    own = [_own_option(argument, known) for argument in arguments]
    for theirs, ours in zip(arguments, own, strict=True):
        if ours != theirs:
            _tell(f"{theirs.partition('=')[0]} is {ours.partition('=')[0]} in redwood", arguments)
    return own


def _tell(text: str, arguments: Sequence[str]) -> None:
    """Print a line, unless the arguments ask for none."""
    if given_texts(arguments).get("quiet", "false").lower() == "false":
        tell(text)


def refuse_missing(setting: str | None, method: str | None, arguments: Sequence[str]) -> NoReturn:
    """Raise `UsageError`, as `--setting` or `--method` is missing: options of another library may be in their place.

    Args:
        setting: The value of `--setting`, on the command line or in a file; None without it.
        method: The value of `--method`, likewise.
        arguments: The command line.
    """
    texts = given_texts(arguments)
    scenario = "" if setting else own_name("setting", texts.get("scenario", ""), setting_names())
    if scenario in setting_names():
        setting, arguments = scenario, _without("scenario", arguments)
        if method:
            written = words_of_run(arguments, setting, method)
            raise UsageError(f"--scenario {texts['scenario']}: in redwood it is the setting; write {written}.")
    model = "" if method else texts.get("model", "")
    own = own_name("method", model, method_names())
    if own in method_names():
        written = words_of_run(_without("model", arguments), setting or "", own)
        raise UsageError(f"--model {model}: in redwood --model is the network; write {written}.")
    answers = [answer("method", model), *(answer("option", name) for name in sorted(option_names(arguments)))]
    for meant in answers:
        if meant is not None and ("--setting" in meant or "--method" in meant):
            raise UsageError(meant)
    missing = "--method" if setting else "--setting"
    raise UsageError(f"{missing} is missing; for example {words_of_run(arguments, setting or '', method or '')}.")


def refuse_name(word: str, others: Sequence[str]) -> None:
    """Raise `UsageError` if a setting, a method or a data set stands in the place of a command.

    Args:
        word: The first word of the command line.
        others: The words behind it; they stand in the command that is advised.
    """
    if word in commands() or answer("command", word):
        return
    data_sets = known_names("data set", DATASETS, ENTRY_POINTS)
    kinds = {"method": method_names(), "setting": setting_names(), "data set": list(data_sets)}
    for kind, known in kinds.items():
        own = own_name(kind, word, known)
        option = {"data set": "dataset"}.get(kind, kind)
        if {*own.split("+")} <= {*known} and option not in option_names(others):
            written = words_of_run([f"--{option}", own, *others])
            raise UsageError(f"{word} is no command but a {kind}; write {written}.")
    meant = next(filter(None, (answer(kind, word) for kind in kinds)), None)
    if meant:
        raise UsageError(meant)


def words_of_run(arguments: Sequence[str], setting: str = "", method: str = "") -> str:
    """The words of a run: an example takes the place of a missing setting or method, and other words are kept.

    Args:
        arguments: The command line.
        setting: The setting, if the command line has it elsewhere.
        method: The method, likewise.
    """
    texts = given_texts(arguments)
    setting, method = setting or texts.get("setting", ""), method or texts.get("method", "")
    setting = setting or next(s for s in ("class_incremental", *setting_names()) if not stored_reason(s, method))
    method = method or next(m for m in ("rehearsal", *method_names()) if not stored_reason(setting, m))
    others = _without("setting", _without("method", arguments))
    first = list(takewhile(lambda word: not word.startswith("-"), others))
    return shlex.join([*first, "--setting", setting, "--method", method, *others[len(first) :]])


def _without(option: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without an option and its value."""
    return [
        argument
        for before, argument in pairwise(["", *arguments])
        if f"--{option}" not in (before, argument.partition("=")[0])
    ]


def own_name(kind: str, name: str, known: Collection[str]) -> str:
    """A name as redwood has it, or several with plus signs between them; as it is, if redwood has none like it.

    Args:
        kind: The kind of name, in the words of an error.
        name: The name, which may be of another library or in another spelling.
        known: The names that there are.
    """
    spelled = {plain(other): other for other in known}
    ours = name if name in known else same(kind, name) or spelled.get(plain(name))
    if ours is None and kind == "data set" and answer(kind, name) is None:
        ours = spelled.get(_SPLIT.sub("", plain(name)))
    if ours is None and "+" in name:
        return "+".join(own_name(kind, part, known) for part in name.split("+"))
    return ours or name


def _own_option(argument: str, known: Collection[str]) -> str:
    name, equals, value = argument.partition("=")
    ours = same("option", name[2:]) if name.startswith("--") and name not in known else None
    if ours is None or f"--{ours}" not in known:
        return argument
    return f"--{ours}{equals}{value}"


def _own_value(before: str, argument: str, known: Mapping[str, Collection[str]]) -> str:
    """An argument, where it is a name, as redwood has it; the name stands behind an option, or behind its `=`."""
    option, equals, text = argument.partition("=")
    if not equals:
        option, text = before, argument
    kind = _KINDS.get(option, "")
    if kind not in known:
        return argument
    own = ",".join(own_name(kind, name, known[kind]) for name in text.split(","))
    return f"{option}={own}" if equals else own

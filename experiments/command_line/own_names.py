"""Put a command line into the words of redwood where it uses those of another library: see `core/peer_words.py`.

A word is replaced if it means exactly the same, and if nothing of redwood, a package or the user has that name. So is a
name in another spelling: capitals, hyphens and underscores do not count.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from redwood.core.peer_words import answer, plain, same
from redwood.core.registry import known_names
from redwood.experiments.command_line.arguments import UsageError, given_texts, option_names, tell
from redwood.methods.table import method_names
from redwood.settings.data.sources import path_of
from redwood.settings.data.table import DATASETS, ENTRY_POINTS
from redwood.settings.table import setting_names

_KINDS = {"--setting": "setting", "--method": "method", "--dataset": "data set"}
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
    return [_own_value(before, argument, known) for before, argument in pairwise(["", *own])]


def with_own_options(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """Replace names of options.

    Args:
        arguments: The command line.
        known: The options that there are, such as `--lr`.
    """
    return [_own_option(argument, known) for argument in arguments]


def refuse_missing(method: str | None, arguments: Sequence[str]) -> None:
    """Raise `UsageError` if options of another library choose what to run, in place of `--setting` and `--method`.

    Args:
        method: The value of `--method`; None without it.
        arguments: The other arguments.
    """
    model = "" if method else given_texts(arguments).get("model", "")
    own = _own_name("method", model, method_names())
    if own in method_names():
        raise UsageError(
            f"--model {model}: in redwood --model is the network; write --setting class_incremental --method {own}."
        )
    answers = [answer("method", model), *(answer("option", name) for name in sorted(option_names(arguments)))]
    for meant in answers:
        if meant is not None and ("--setting" in meant or "--method" in meant):
            raise UsageError(meant)


def _own_option(argument: str, known: Collection[str]) -> str:
    name, equals, value = argument.partition("=")
    ours = same("option", name[2:]) if name.startswith("--") and name not in known else None
    if ours is None or f"--{ours}" not in known:
        return argument
    tell(f"{name} is --{ours} in redwood")
    return f"--{ours}{equals}{value}"


def _own_value(before: str, argument: str, known: Mapping[str, Collection[str]]) -> str:
    """An argument, where it is a name, as redwood has it; the name stands behind an option, or behind its `=`."""
    option, equals, text = argument.partition("=")
    if not equals:
        option, text = before, argument
    kind = _KINDS.get(option, "")
    if kind not in known:
        return argument
    own = ",".join(_own_name(kind, name, known[kind]) for name in text.split(","))
    if own != text:
        tell(f"{option} {text} is {option} {own} in redwood")
    return f"{option}={own}" if equals else own


def _own_name(kind: str, name: str, known: Collection[str]) -> str:
    """A name, or several with plus signs between them."""
    spelled = {plain(other): other for other in known}
    ours = name if name in known else same(kind, name) or spelled.get(plain(name))
    if ours is None and "+" in name:
        return "+".join(_own_name(kind, part, known) for part in name.split("+"))
    return ours or name

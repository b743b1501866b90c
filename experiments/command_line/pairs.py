"""Pairs of a setting and a method, and which of the chosen ones apply."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeVar

from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.core.parts import all_options, kinds_of
from redwood.experiments.command_line.arguments import option_names
from redwood.methods.base import Method
from redwood.methods.lookup import get_method
from redwood.methods.table import METHODS, agent_hint, bound_hint, method_names
from redwood.settings.base import Setting, why_not_applicable
from redwood.settings.lookup import get_setting
from redwood.settings.table import name_of_setting, setting_names

T = TypeVar("T")
_MOST_NAMES = 6  # of methods in one line


@dataclass(frozen=True)
class Pair:
    """A setting and a method by the names under which the user knows them.

    Attributes:
        setting: The setting.
        method: The method.
        bounds: Of an upper bound: the setting beside whose methods it is shown.
        objects: Objects from Python by the texts that stand for them in names and arguments, see `keywords`.
    """

    setting: str
    method: str
    bounds: str | None = None
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def shown_under(self) -> str:
        """The setting under which tables and figures show it."""
        return self.bounds or self.setting

    def record(self) -> dict[str, str]:
        """What is there, by name, for the file of a plan."""
        names = {"setting": self.setting, "method": self.method, "bounds": self.bounds}
        return {name: value for name, value in names.items() if value is not None}

    def load(self) -> tuple[type[Setting], type[Method]]:
        """The two classes.

        Raises:
            RedwoodError: If one is unknown or cannot be imported.
        """
        setting, method = (self.objects.get(name) for name in (self.setting, self.method))
        return (
            setting or _load(get_setting, self.setting, os.getcwd()),
            method or _load(get_method, self.method, os.getcwd()),
        )

    def __str__(self) -> str:
        return f"--setting {self.setting} --method {self.method}"


@functools.cache  # a comparison asks for the same few names again and again
def _load(get: Callable[[str], T], name: str, folder: str) -> T:
    """Load the object that a name stands for; a file's path may be relative to the current folder."""
    return get(name)


def select_pairs(
    settings: str, methods: str, arguments: Sequence[str] = (), objects: Mapping[str, Any] | None = None
) -> tuple[list[Pair], list[str]]:
    """Return the pairs that two comma lists (or `all`) stand for.

    An upper bound, such as joint training, runs under the child of a setting that it applies to, and is shown beside
    the methods that apply to the setting; not if the user has chosen that child, too.

    A setting is left out if it lacks a given option that another setting has. So `--dataset` leaves out environments,
    and `--env` leaves out data sets.

    Args:
        settings: Keys of settings.
        methods: Keys of methods.
        arguments: The other arguments.
        objects: Objects from Python, see `Pair`.

    Returns:
        Those that apply; and why each of the others does not, in one sentence.

    Raises:
        NotApplicableError: If none applies; the reason of the first is given.
        RedwoodError: If a name is unknown.
    """
    chosen_settings = dict.fromkeys(setting_names() if settings == "all" else settings.split(","))
    chosen_methods = dict.fromkeys(method_names() if methods == "all" else methods.split(","))
    chosen = [
        Pair(setting, method, objects=objects or {}) for setting, method in product(chosen_settings, chosen_methods)
    ]
    reasons = {pair: reason for pair in chosen if (reason := _why_not(pair)) is not None}
    if len(reasons) == len(chosen):
        child = _child_for_bound(chosen[0])
        raise NotApplicableError(reasons[chosen[0]] + (bound_hint(chosen[0].method, child) if child else ""))
    with_methods = {pair.setting for pair in chosen if pair not in reasons}
    pairs = []
    for pair in chosen:
        child = _child_for_bound(pair) if pair in reasons and pair.setting in with_methods else None
        if child is not None and child not in chosen_settings:
            del reasons[pair]
            pairs.append(replace(pair, setting=child, bounds=pair.setting))
        elif pair not in reasons:
            pairs.append(pair)
    meant, others = _with_options(pairs, arguments)
    return meant, [*reasons.values(), *others]


def _why_not(pair: Pair) -> str | None:
    reason = why_not_applicable(*pair.load())
    return reason and reason + agent_hint(pair.method, pair.load()[0].assumptions.rewards)


def _child_for_bound(pair: Pair) -> str | None:
    """The first child of the setting that an upper bound applies to; None without one, and for other methods."""
    setting, method = pair.load()
    if not method.upper_bound:
        return None
    names = map(name_of_setting, setting.__subclasses__())
    known = (name for name in names if name in setting_names())
    return next((name for name in known if why_not_applicable(*replace(pair, setting=name).load()) is None), None)


def where_it_is(pairs: Sequence[Pair], option: str) -> str:
    """Say which other methods have an option that some pairs lack; empty if none under their settings has it.

    Args:
        pairs: The pairs; if there is one alone, the answer may be to join another method to its own.
        option: The name of the option, without dashes.
    """
    setting = pairs[0].load()[0]
    names = [name for name in METHODS if why_not_applicable(setting, get_method(name)) is None]
    having = [name for name in names if option in all_options(get_method(name), setting)]
    if not having:
        return ""
    shown = ", ".join(having[:_MOST_NAMES]) + (", ..." if len(having) > _MOST_NAMES else "")
    if len(pairs) > 1:
        return f"choose a method that has it ({shown}), or leave it out."
    pair = pairs[0]
    own, *others = ("buffer_size" in all_options(cls, setting) for cls in (pair.load()[1], *map(get_method, having)))
    why = f"as {pair.method} keeps no buffer, " if all(others) and not own else ""
    joined = f"{pair.method}+{having[0]}"
    if _can_be_had(replace(pair, method=joined)):
        return f"{why}write --method {joined}, or choose a method that has it ({shown})."
    return f"{why}choose a method that has it ({shown}), or leave it out."


def _can_be_had(pair: Pair) -> bool:
    """True if methods can be joined, and apply to the setting."""
    try:
        return why_not_applicable(*pair.load()) is None
    except RedwoodError:
        return False


def _used_options(setting: type[Setting]) -> set[str]:
    """The options that decide something under a setting, those of parts included."""
    without_choice = {name for name, kind in kinds_of(setting).items() if len(kind.offered_under(setting)) < 2}
    return all_options(setting, setting) - setting.unused_options.keys() - without_choice


def _with_options(pairs: list[Pair], arguments: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """Split the pairs by the given options: pairs whose setting or method knows all of them, and reasons for the rest.

    Options that no setting of the pairs knows are ignored. If no pair is left, all pairs are returned, without reasons.
    """
    given = option_names(arguments)
    settings, methods = {pair.setting: pair for pair in pairs}, {pair.method: pair for pair in pairs}
    of_settings = {name: _used_options(pair.load()[0]) for name, pair in settings.items()}
    of_methods = {name: all_options(pair.load()[1], pair.load()[0]) for name, pair in methods.items()}
    known = set().union(*of_settings.values())
    meant, reasons = [], []
    for pair in pairs:
        lacking = sorted(given & known - of_settings[pair.setting] - of_methods[pair.method])
        if lacking:
            reasons.append(f"{pair.setting} has no option --{lacking[0]}.")
        else:
            meant.append(pair)
    return (meant, reasons) if meant else (pairs, [])

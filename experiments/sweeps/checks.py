"""Checks of a sweep: the options that it may try, and the values that the pair accepts."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from redwood.core.errors import RedwoodError
from redwood.core.parts import flat, option_fields
from redwood.core.schema import Json
from redwood.experiments.command_line.arguments import UsageError, option_names, refuse_unknown
from redwood.experiments.command_line.options import make_parser, owners_under, parse_options, parser_and_roots
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.sweeps.space import (
    Choices,
    Range,
    Space,
    Value,
    Written,
    as_arguments,
    parse_parameter,
    size_of,
)
from redwood.settings.config import describe_run

# Options of settings that leave the task as it is; scores under others cannot be compared.
_COMPARABLE = ("batch_size", "passes")
DEFAULT_TRIALS = 20


def make_space(pair: Pair, arguments: Sequence[str], written: Mapping[str, Written]) -> Space:
    """Return the search space of a sweep of a pair.

    Args:
        pair: The pair.
        arguments: The options that all trials share.
        written: The swept options and their values, as the user wrote them.

    Raises:
        UsageError: If the pair has no such option or value. Also if a swept option is given as a plain option, too, or
            decides what is learned instead of how.
        RedwoodError: If the pair refuses a value.
    """
    actions, roots = _known(pair, arguments, written)
    space: dict[str, Range | Choices] = {}
    for name, values in written.items():
        refuse_unknown([f"--{name}"], actions, str(pair), owners_under([pair]))
        action = actions[f"--{name}"]
        _refuse_unsuitable(name, roots.get(action.dest), pair)
        _refuse_twice(name, action, actions, [*option_names(arguments), *space])
        space[name] = parse_parameter(name, values, action.type if isinstance(action.type, type) else None)
    for name in space:
        _refuse_values(pair, arguments, space, name)
    return space


def defaults_of(pair: Pair, arguments: Sequence[str], space: Space) -> dict[str, Value] | None:
    """The values that the swept options have without a sweep; None if the space does not hold them.

    An option of a part that is not chosen by default has no effect there, so its first value stands for it.

    Args:
        pair: The pair.
        arguments: The options that all trials share.
        space: The search space.
    """
    usual, actions = _described(pair, arguments), make_parser(pair, arguments)._option_string_actions
    found: dict[str, Value] = {}
    for name, parameter in space.items():
        value: Any = parameter.ends[0]
        if isinstance(parameter, Choices):
            alike = (one for one in parameter.values if _described(pair, [*arguments, f"--{name}={one}"]) == usual)
            value = next(alike, None)
        elif f"--{name}" in actions:
            value = usual[actions[f"--{name}"].dest]
            fits = value is not None and parameter.low <= value <= parameter.high
            value = (int if parameter.whole else float)(value) if fits else None
        if value is None:
            return None
        found[name] = value
    return found


def _described(pair: Pair, arguments: Sequence[str]) -> Json:
    """All options of a run; none if the pair refuses some."""
    try:
        options = parse_options(pair, arguments)
    except RedwoodError:
        return {}
    return flat(describe_run(options.setting, options.method, options.run))


def used(pair: Pair, arguments: Sequence[str], parameters: Mapping[str, Value]) -> dict[str, Value]:
    """The swept options that a trial has: an option of a part counts where the part is chosen."""
    parser = make_parser(pair, [*arguments, *as_arguments(parameters)])
    known = {option for action in parser._actions for option in action.option_strings}
    return {name: value for name, value in parameters.items() if f"--{name}" in known}


def count_trials(space: Space, wanted: int | None) -> int:
    """Return the number of configurations to try: `wanted`; by default `DEFAULT_TRIALS`, or all if there are fewer.

    Raises:
        UsageError: If there are fewer than `wanted`.
    """
    size = size_of(space)
    if wanted is not None and wanted > size:
        raise UsageError(f"--trials {wanted} is more than the {size:g} configurations of sweep; use at most {size:g}.")
    return int(min(DEFAULT_TRIALS, size)) if wanted is None else wanted


def _known(
    pair: Pair, arguments: Sequence[str], written: Mapping[str, Written]
) -> tuple[dict[str, argparse.Action], dict[str, type]]:
    """Return the options of a pair, with those of parts that the sweep chooses; and the class of each option."""
    listed = {name: values.split(",") if isinstance(values, str) else values for name, values in written.items()}
    chosen = [[f"--{name}={value}"] for name, values in listed.items() for value in values]
    actions: dict[str, argparse.Action] = {}
    owners: dict[str, type] = {}
    for more in ([], *chosen):
        with contextlib.suppress(RedwoodError):  # a value that chooses nothing is told later
            parser, roots = parser_and_roots(pair, [*arguments, *more])
            actions = {option: action for action in parser._actions for option in action.option_strings} | actions
            owners |= {name: root.cls for root in roots for one in root.all() for name in option_fields(one.cls)}
    return actions, owners


def _refuse_unsuitable(name: str, owner: type | None, pair: Pair) -> None:
    """Raise `UsageError` unless trials with different values of an option can be compared."""
    setting, method = pair.load()
    if owner is method or (owner is setting and name in _COMPARABLE):
        return
    if owner is setting and name == "seed":
        raise UsageError(
            "sweep seed would choose the luckiest seed, not options; leave it out, and repeat the best by --seeds N."
        )
    if owner is setting:
        raise UsageError(
            f"sweep {name} would change what {pair.setting} asks for, so that scores could not be compared; sweep "
            f"options of {pair.method}, or {' and '.join(_COMPARABLE)}."
        )
    what = "what is run" if owner is None else "how a run is carried out"
    raise UsageError(f"sweep {name} has no effect on what is learned, as --{name} says {what}; leave it out.")


def _refuse_twice(
    name: str, action: argparse.Action, actions: Mapping[str, argparse.Action], others: list[str]
) -> None:
    """Raise `UsageError` if an option is also given, or swept under another of its names."""
    for other in others:
        if actions.get(f"--{other}") is action:
            raise UsageError(f"--{other} is given, and swept by sweep {name}; leave one of them out.")


def _refuse_values(pair: Pair, arguments: Sequence[str], space: Space, name: str) -> None:
    """Raise `RedwoodError` if the pair refuses the ends of a range, or a choice, whatever the other options are."""
    for value in space[name].ends:
        refused: RedwoodError | None = None
        for others in _contexts(space, name):
            try:
                parse_options(pair, [*arguments, *others, *as_arguments({name: value})])
                break
            except RedwoodError as error:
                refused = refused or error
        else:
            assert refused is not None
            raise RedwoodError(f"sweep {name} has a value that cannot be used: {refused}") from refused


def _contexts(space: Space, name: str) -> Iterator[list[str]]:
    """Values of the other options, since one may need another: the defaults first, then one of them changed."""
    yield []
    for other, parameter in space.items():
        if other != name:
            for value in parameter.ends:
                yield as_arguments({other: value})

"""The option `policy_kwargs`: sizes and kinds of an agent's networks, as plain values."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from torch import nn

from redwood.core.errors import InvalidOptionError, RedwoodError, reason_of
from redwood.core.plain_yaml import read_yaml

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def _is_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and size > 0 for size in value)


def _is_architecture(value: object) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(isinstance(part, str) and _is_sizes(sizes) for part, sizes in value.items())
    return _is_sizes(value)


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and isinstance(value, int | float) and math.isfinite(value)


# What each key may hold: a check, and its words in an error.
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "net_arch": (_is_architecture, "a list of layer sizes such as [256, 256], or such lists for pi and for vf or qf"),
    "activation_fn": (
        lambda value: isinstance(value, str) and value in ACTIVATIONS,
        f"one of {', '.join(ACTIVATIONS)}",
    ),
    "ortho_init": (lambda value: isinstance(value, bool), "true or false"),
    "log_std_init": (_is_finite, "a finite number"),
    "n_critics": (lambda value: type(value) is int and value > 0, "a whole number of at least 1"),
    "share_features_extractor": (lambda value: isinstance(value, bool), "true or false"),
}


def read_policy_kwargs(given: object) -> dict[str, object]:
    """Read the option: a mapping, or its text in YAML or JSON.

    Returns:
        The mapping, of plain values; empty for an empty text.

    Raises:
        InvalidOptionError: If it is no mapping, or a key is unknown, or a value does not suit its key.
    """
    value = _loaded(given) if isinstance(given, str) else given
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidOptionError(
            f'--policy_kwargs {given} is no mapping; write one such as "{{net_arch: [256, 256], activation_fn: tanh}}".'
        )
    plain = {name: _plain(entry) for name, entry in value.items()}
    for name, entry in plain.items():
        if name not in KEYS:
            raise InvalidOptionError(f"--policy_kwargs {name} is unknown; choose among {', '.join(KEYS)}.")
        suits, words = KEYS[name]
        if not suits(entry):
            raise InvalidOptionError(f"--policy_kwargs {name}: {entry!r} has to be {words}.")
    return plain


def _loaded(text: str) -> object:
    try:
        return read_yaml(text)
    except RedwoodError as error:
        raise InvalidOptionError(f"--policy_kwargs {text} {error}") from None
    except yaml.YAMLError as error:
        raise InvalidOptionError(
            f"--policy_kwargs {text} is neither YAML nor JSON ({reason_of(error)}); "
            'write a mapping such as "{net_arch: [256, 256]}".'
        ) from error


def _plain(value: object) -> object:
    """Return tuples as lists, and mappings as dictionaries, so that equal options have equal texts."""
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value


def as_text(plain: Mapping[str, object]) -> str:
    """Return the text that `read_policy_kwargs` reads as the same mapping."""
    return json.dumps(plain) if plain else ""


def library_policy_kwargs(plain: Mapping[str, Any], known: Sequence[str], parts: Sequence[str]) -> dict[str, object]:
    """Return the library's `policy_kwargs`.

    Args:
        plain: From `read_policy_kwargs`.
        known: Names of the parameters of the agent's policy class.
        parts: Networks that `net_arch` may name: pi and the critics' name; none where there is one network.

    Raises:
        InvalidOptionError: If the agent's networks have no such part.
    """
    for name in plain:
        if name not in known:
            fitting = ", ".join(key for key in KEYS if key in known)
            raise InvalidOptionError(f"--policy_kwargs {name} is not for this agent; choose among {fitting}.")
    sizes = plain.get("net_arch")
    if isinstance(sizes, dict) and sizes.keys() != set(parts):
        wanted = f"a list for each of {' and '.join(parts)}, or " if parts else ""
        raise InvalidOptionError(f"--policy_kwargs net_arch: {sizes} has to be {wanted}one list of layer sizes.")
    kwargs = dict(plain)
    if "activation_fn" in kwargs:
        kwargs["activation_fn"] = ACTIVATIONS[kwargs["activation_fn"]]
    return kwargs

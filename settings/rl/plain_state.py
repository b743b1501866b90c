"""The state of environments as plain values, so that reading a file of them runs no code that it holds.

Numbers, texts, arrays, containers and generators of random numbers are saved as values. An object is saved as its
attributes, and loaded into the object at the same place of a new environment. Nothing is made by its name.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec, WrapperSpec

from redwood.core.errors import reason_of
from redwood.settings.rl.types import Array, Env

# A saved value: a number, a text or None, or a dictionary with its `kind`; loading checks the rest.
Saved: TypeAlias = Any
SavedDict: TypeAlias = dict[str, Saved]

_ATOMS = (type(None), bool, int, float, str)
_CONTAINERS: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}
_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_NUMERIC = "biufc"  # kinds of dtypes without references to objects


class NotPlainError(Exception):
    """A state cannot be saved as plain values, or plain values do not fit an environment."""


class _Plain:
    """Has the size of every object that keeps nothing but its attributes."""


def save_state(value: object) -> Saved:
    """Return the state of an environment, or of several in a list.

    Returns:
        Numbers, texts, lists, dictionaries and tensors.

    Raises:
        NotPlainError: If a value cannot be saved.
    """
    return _Saver().save(value, "")


def load_state(fresh: object, state: Saved) -> Any:
    """Load a state from `save_state` into a newly made environment, or into several in a list.

    Returns:
        The saved value; its objects are the objects of `fresh`.

    Raises:
        NotPlainError: If the state belongs to another environment.
    """
    try:
        return _Loader().load(state, fresh)
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise NotPlainError(f"{type(error).__name__}: {reason_of(error)}") from error


def same_state(left: Saved, right: Saved) -> bool:
    """Return whether two saved states are equal, bit for bit."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return (
            isinstance(right, dict) and left.keys() == right.keys() and all(same_state(left[k], right[k]) for k in left)
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same_state, left, right))
    return type(left) is type(right) and repr(left) == repr(right)


class _Saver:
    def __init__(self) -> None:
        self._kept: list[object] = []  # so that no address is used twice
        self._numbers: dict[int, int] = {}

    def save(self, value: object, place: str) -> Saved:
        if type(value) in _ATOMS:
            return value
        if isinstance(value, EnvSpec | WrapperSpec):
            return {"kind": "spec"}  # says how the environment was made, which does not change
        if isinstance(value, FunctionType | type | ModuleType):
            return {"kind": "name", "name": _name_of(value, place)}
        if isinstance(value, np.dtype):
            return {"kind": "dtype", "dtype": value.str}
        if isinstance(value, np.generic):
            return {"kind": "scalar", **_bytes_of(np.asarray(value), place)}
        if id(value) in self._numbers:
            return {"kind": "same", "number": self._numbers[id(value)]}
        self._number(value)
        return self._changing(value, place)

    def _changing(self, value: object, place: str) -> SavedDict:
        """Save a value that can change in place, so that it matters whether two attributes hold the same one."""
        if type(value) is np.ndarray:
            return {"kind": "array", **self._array(value, place)}
        if type(value) is deque:
            return {"kind": "deque", "items": self._items(value, place), "maxlen": value.maxlen}
        if type(value) in _CONTAINERS.values() and isinstance(value, Iterable):
            return {"kind": type(value).__name__, "items": self._items(value, place)}
        if type(value) is dict:
            items = [[self.save(key, place), self.save(item, f"{place}[{key!r}]")] for key, item in value.items()]
            return {"kind": "dict", "items": items}
        if type(value) is np.random.Generator:
            return self._generator(value, place)
        if type(value).__basicsize__ != _Plain.__basicsize__ or not hasattr(value, "__dict__"):
            raise NotPlainError(f"{place or 'it'} is of {type(value).__module__}.{type(value).__qualname__}")
        attributes = {name: self.save(item, f"{place}.{name}".lstrip(".")) for name, item in vars(value).items()}
        return {"kind": "object", "class": type(value).__qualname__, "attributes": attributes}

    def _items(self, values: Iterable[object], place: str) -> list[Saved]:
        return [self.save(item, f"{place}[{index}]") for index, item in enumerate(values)]

    def _number(self, value: object) -> None:
        self._numbers[id(value)] = len(self._kept)
        self._kept.append(value)

    def _array(self, value: Array, place: str) -> SavedDict:
        owner: Array = value
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner is not value:
            if id(owner) in self._numbers:
                raise NotPlainError(f"{place} is a view of another array")
            self._number(owner)
        return _bytes_of(value, place)

    def _generator(self, value: np.random.Generator, place: str) -> SavedDict:
        name = type(value.bit_generator).__name__
        if name not in _GENERATORS:
            raise NotPlainError(f"{place} draws from {name}")
        return {"kind": "generator", "name": name, "state": self.save(value.bit_generator.state, place)}


class _Loader:
    def __init__(self) -> None:
        self._made: list[object] = []

    def load(self, saved: Saved, fresh: object) -> Any:
        if type(saved) in _ATOMS:
            return saved
        kind = saved["kind"]
        if kind in ("spec", "name"):
            return _checked_constant(saved, fresh)
        if kind == "dtype":
            return _dtype_of(saved)
        if kind == "scalar":
            return _array_of(saved)[()]
        if kind == "same":
            return self._made[saved["number"]]
        load: Callable[[SavedDict, object, int], object] = {
            "array": self._array,
            "dict": self._dict,
            "generator": self._generator,
            "object": self._object,
        }.get(kind, self._container)
        self._made.append(None)
        return load(saved, fresh, len(self._made) - 1)

    def _array(self, saved: SavedDict, fresh: object, number: int) -> object:
        self._made[number] = _array_of(saved)
        return self._made[number]

    def _container(self, saved: SavedDict, fresh: object, number: int) -> object:
        make = _CONTAINERS[saved["kind"]]
        old: list[object] = []
        if type(fresh) in (list, tuple, deque) and isinstance(fresh, Iterable):
            old = list(fresh)
        old += [None] * (len(saved["items"]) - len(old))
        content: Any = make(maxlen=saved["maxlen"]) if make is deque else make()
        self._made[number] = content
        loaded = [self.load(item, before) for item, before in zip(saved["items"], old, strict=False)]
        if make in (list, deque):
            content.extend(loaded)
        elif make is set:
            content.update(loaded)
        else:
            self._made[number] = content = make(loaded)
        return content

    def _dict(self, saved: SavedDict, fresh: object, number: int) -> object:
        content: dict[object, object] = {}
        self._made[number] = content
        old = fresh if type(fresh) is dict else {}
        for key, item in saved["items"]:
            name = self.load(key, None)
            content[name] = self.load(item, old.get(name))
        return content

    def _generator(self, saved: SavedDict, fresh: object, number: int) -> object:
        if saved["name"] not in _GENERATORS:
            raise ValueError(saved["name"])
        bits = getattr(np.random, saved["name"])()
        self._made[number] = generator = np.random.Generator(bits)
        bits.state = self.load(saved["state"], None)
        return generator

    def _object(self, saved: SavedDict, fresh: object, number: int) -> object:
        if type(fresh).__basicsize__ != _Plain.__basicsize__ or type(fresh).__qualname__ != saved["class"]:
            raise ValueError(saved["class"])
        self._made[number] = fresh
        now = vars(fresh)
        for name, item in saved["attributes"].items():
            known = getattr(type(fresh), name, None)
            if name not in now and (callable(known) or hasattr(known, "__get__")):
                raise ValueError(f"the method {name}")
            now[name] = self.load(item, now.get(name))
        for name in now.keys() - saved["attributes"].keys():
            del now[name]
        return fresh


def _name_of(value: Any, place: str) -> str:
    """Return the name of a function, class or module; by this name Python has to find the same object."""
    if isinstance(value, ModuleType):
        return value.__name__
    found: Any = sys.modules.get(value.__module__)
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise NotPlainError(f"{place} is {value.__qualname__}, a function or class within another")
    return f"{value.__module__}:{value.__qualname__}"


def _checked_constant(saved: SavedDict, fresh: object) -> object:
    """Return the constant of a new environment; it has to be the constant that was saved."""
    if saved["kind"] == "spec":
        if not isinstance(fresh, EnvSpec | WrapperSpec):
            raise ValueError("spec")
    elif _name_of(fresh, "") != saved["name"]:
        raise ValueError(saved["name"])
    return fresh


def _bytes_of(value: Array, place: str) -> SavedDict:
    if value.dtype.kind not in _NUMERIC:
        raise NotPlainError(f"{place} is an array of {value.dtype}")
    content = np.frombuffer(value.tobytes(), np.uint8)
    return {"dtype": value.dtype.str, "shape": list(value.shape), "bytes": torch.from_numpy(content.copy())}


def _array_of(saved: SavedDict) -> Array:
    content: torch.Tensor = saved["bytes"]
    array: Array = np.frombuffer(content.numpy().tobytes(), _dtype_of(saved)).reshape(saved["shape"]).copy()
    return array


def _dtype_of(saved: SavedDict) -> "np.dtype[Any]":
    dtype: np.dtype[Any] = np.dtype(saved["dtype"])
    if dtype.kind not in _NUMERIC:
        raise ValueError(saved["dtype"])
    return dtype


def check_round_trip(makes: Sequence[Callable[[], Env]], state: Saved) -> None:
    """Raise `NotPlainError` unless the state can be loaded into new environments, and saved again as the same."""
    fresh = [make() for make in makes]
    try:
        load_state(fresh, state)
        if not same_state(save_state(fresh), state):
            raise NotPlainError("a new environment cannot be brought into the same state")
    finally:
        for env in fresh:
            env.close()

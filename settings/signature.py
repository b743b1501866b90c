"""The part of a setting that its method saw, as plain values. It rebuilds a trained method without the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.core.schema import ANYTHING, Json, ListOf, MapOf, Number, Record, Text, check
from redwood.core.state import State
from redwood.settings.base import Setting
from redwood.settings.data.classes import Classes
from redwood.settings.protocols import Stream

_COUNT = Number(low=0, whole=True)
_COUNTS = ("first_task", "num_tasks", "num_phases")
_CLASSES = Record(
    {"outputs": ListOf(ListOf(Text())), "by_label": ListOf(Text()), "named": Number(low=0, high=1, whole=True)}
)
_SPEC = Record({"view": MapOf(ANYTHING), "classes": _CLASSES, **dict.fromkeys(_COUNTS, _COUNT)})
# The key of an entry that stands for an object, and the kinds of objects.
_KIND, _TUPLE = "kind", "tuple"


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a method; each checkpoint between two phases holds it.

    Attributes:
        view: The attributes of the method's view of the setting (`Setting.for_method`): spaces and options.
        classes: The classes that the outputs stand for.
        first_task: Number of the first task of the run in the whole stream.
        num_tasks: Tasks of the run.
        num_phases: Phases of the run once it is over.
    """

    view: Json
    classes: Classes
    first_task: int
    num_tasks: int
    num_phases: int

    @classmethod
    def of(cls, setting: Setting, stream: Stream) -> "Signature":
        """Return the signature of a run. Values that are neither spaces nor plain, such as objects, are left out."""
        view = {name: value for name, value in vars(setting.for_method()).items() if _is_known(value)}
        return cls(view, stream.classes(), stream.first_task, stream.num_tasks, stream.num_phases)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each output (K,); empty where the data has none."""
        return self.classes.names

    def make_view(self, setting: type[Setting], workers: int = 1) -> Setting:
        """The view of a setting of this class, for a run of so many workers; it opens no stream."""
        view = setting.__new__(setting)
        vars(view).update(self.view, workers=workers)
        return view

    def state_dict(self) -> State:
        """The signature as tensors and plain values."""
        view = {name: _encoded(value) for name, value in self.view.items()}
        counts = {name: getattr(self, name) for name in _COUNTS}
        own = self.classes
        classes = {"outputs": list(map(list, own.outputs)), "by_label": list(own.by_label), "named": int(own.named)}
        return {"view": view, "classes": classes, **counts}

    @classmethod
    def from_state(cls, state: State, file: str) -> "Signature":
        """Restore the result of `state_dict`; raise `DataError`, which names `file`, if it is something else."""
        check(state, _SPEC, f"The signature in {file}")
        try:
            view = {name: _decoded(value) for name, value in state["view"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RedwoodError(f"The signature in {file} is damaged ({error!r}); start the run anew.") from error
        own = state["classes"]
        classes = Classes(tuple(map(tuple, own["outputs"])), tuple(own["by_label"]), bool(own["named"]))
        return cls(view, classes, *(state[name] for name in _COUNTS))


def _is_known(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_known, value))
    return value is None or isinstance(value, bool | int | float | str | Box | Discrete | MultiBinary)


def _encoded(value: object) -> object:
    if isinstance(value, Box):
        low, high = _bound(value.low), _bound(value.high)
        return {_KIND: "Box", "low": low, "high": high, "shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, Discrete):
        return {_KIND: "Discrete", "n": int(value.n), "start": int(value.start)}
    if isinstance(value, MultiBinary):
        return {_KIND: "MultiBinary", "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {_KIND: _TUPLE, "values": [_encoded(part) for part in value]}
    return [_encoded(part) for part in value] if isinstance(value, list) else value


def _bound(values: np.ndarray) -> Tensor:
    """The bounds of all features, or one () where they are the same."""
    same = values.size and (values == values.reshape(-1)[0]).all()
    return torch.from_numpy(np.array(values.reshape(-1)[0] if same else values))


def _decoded(value: Any) -> object:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value[_KIND] == "Box":
        dtype: Any = np.dtype(value["dtype"]).type
        low, high = (_spread(value[bound], value["shape"], dtype) for bound in ("low", "high"))
        return Box(low, high, dtype=dtype)
    if value[_KIND] == "Discrete":
        return Discrete(value["n"], start=value["start"])
    if value[_KIND] == "MultiBinary":
        shape = value["shape"]
        return MultiBinary(shape[0] if len(shape) == 1 else shape)
    return tuple(_decoded(part) for part in value["values"])


def _spread(bound: Tensor, shape: list[int], dtype: type) -> np.ndarray:
    return np.broadcast_to(bound.numpy().astype(dtype), shape).copy()

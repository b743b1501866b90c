"""A check that a worker can send the trained method back to the process that started it."""

import io
import pickle

import numpy as np
from torch import Tensor, nn
from typing_extensions import Buffer, override

from redwood.core.errors import InvalidOptionError, reason_of
from redwood.settings.protocols import Learner

# Attributes that redwood's own methods drop in `on_finish`, and that the run closes.
_DROPPED_AT_END = ("run", "phase")
_TENSORS = (Tensor, nn.Parameter)


class _Discard(io.RawIOBase):
    """Takes what is written, and keeps nothing."""

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, content: Buffer, /) -> int:
        return memoryview(content).nbytes


class _Probe(pickle.Pickler):
    """Pickles a value, except objects that are sent anyway and large arrays of numbers."""

    def __init__(self, known: list[object]) -> None:
        super().__init__(io.BufferedWriter(_Discard()))
        self._known = {id(value) for value in known}

    @override
    def persistent_id(self, value: object) -> int | None:
        numbers = type(value) in _TENSORS or (isinstance(value, np.ndarray) and not value.dtype.hasobject)
        return id(value) if numbers or id(value) in self._known else None


def check_can_be_sent(method: Learner, at_end: bool = False) -> None:
    """Raise `InvalidOptionError`, which names the attribute, if a worker cannot send the method back.

    Args:
        method: The method.
        at_end: Whether the run is over. Before that, a method with its own `on_finish` may still drop attributes.
    """
    if not at_end and not type(method).on_finish.__module__.startswith("redwood."):
        return
    attributes = vars(method)
    known = [method, *(attributes[name] for name in _DROPPED_AT_END if name in attributes)]
    for name, value in attributes.items():
        if name in _DROPPED_AT_END:
            continue
        try:
            _Probe(known).dump(value)
        except Exception as error:  # objects raise anything when they are pickled
            raise InvalidOptionError(
                f"{type(method).__name__} keeps self.{name}, of the class {type(value).__name__}, which a worker "
                f"cannot send back at the end of the run ({reason_of(error)}); keep it in a local variable, or "
                "delete it at the end of fit."
            ) from error

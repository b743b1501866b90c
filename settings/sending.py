"""What a worker sends back at the end of a run can be found out at its start: whether a method can be pickled."""

import io
import pickle
from typing import Any

import numpy as np
from torch import Tensor, nn

from redwood.settings.base import Learner
from redwood.settings.errors import InvalidOptionError, reason_of

# What redwood's own methods let go of in `on_finish`, and what the run closes.
_LET_GO = ("run", "phase", "session", "host_batch", "_strategy")
_TENSORS = (Tensor, nn.Parameter)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return len(content)


class _Probe(pickle.Pickler):
    """Pickles, but for what is known to be sent, what is let go of, and large content."""

    def __init__(self, known: list[Any]) -> None:
        super().__init__(io.BufferedWriter(_Nowhere()))
        self._known = {id(value): value for value in known}

    def persistent_id(self, value: Any) -> Any:
        """A name for what is not looked into."""
        plain = type(value) in _TENSORS or (type(value) is np.ndarray and not value.dtype.hasobject)
        return id(value) if plain or id(value) in self._known else None


def check_can_be_sent(method: Learner, sure: bool = False) -> None:
    """Raise `InvalidOptionError`, which names the attribute, if a worker could not send the method back.

    Args:
        method: The method; one with an `on_finish` of its own may let go of anything until then.
        sure: Whether the run is over, so that it is not to be hoped for.
    """
    if not sure and not type(method).on_finish.__module__.startswith("redwood."):
        return
    attributes = vars(method)
    known = [method, *(attributes[name] for name in _LET_GO if name in attributes)]
    for name, value in attributes.items():
        if name in _LET_GO:
            continue
        try:
            _Probe(known).dump(value)
        except Exception as error:  # objects raise anything when they are pickled
            raise InvalidOptionError(
                f"{type(method).__name__} keeps self.{name}, of the class {type(value).__name__}, which a worker "
                f"cannot send back at the end of the run ({reason_of(error)}); keep it in a local variable, or "
                "delete it at the end of fit."
            ) from error

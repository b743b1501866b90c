"""Environments as bytes, with all of their state."""

import copyreg
import io
import pickle
from typing import Any

from gymnasium.utils import EzPickle


class _Pickler(pickle.Pickler):
    """Saves what is there of environments that say of themselves only how they were made, as those of MuJoCo do."""

    def reducer_override(self, obj: Any) -> Any:
        """How to make the object again."""
        if isinstance(obj, EzPickle):
            return copyreg.__newobj__, (type(obj),), vars(obj), None, None, _restore  # type: ignore[attr-defined]
        return NotImplemented


def _restore(obj: Any, state: dict[str, Any]) -> None:
    vars(obj).update(state)


def to_bytes(content: Any) -> bytes:
    """Pickle environments and whatever stands beside them.

    Raises:
        Exception: If part of it cannot be pickled.
    """
    file = io.BytesIO()
    _Pickler(file).dump(content)
    return file.getvalue()


def from_bytes(content: bytes) -> Any:
    """Read what `to_bytes` wrote; the bytes have to be one's own, since reading them can run any code."""
    return pickle.loads(content)

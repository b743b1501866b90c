"""What may be given as `dataset` from Python, and how to make a data set of what people have instead."""

import os
from typing import Any

from redwood.settings.data.dataset import Dataset
from redwood.settings.errors import InvalidOptionError

_MAKE = "make one by Dataset.from_arrays(x, y, x_test, y_test)"


def checked_source(given: Any) -> str | Dataset:
    """A name of a data set, or a data set.

    Args:
        given: The option `dataset`; a path becomes its name.

    Raises:
        InvalidOptionError: If it is something else; the way to make a `Dataset` of it is named.
    """
    if isinstance(given, str | Dataset):
        return given
    if isinstance(given, os.PathLike):
        return str(os.fspath(given))
    raise InvalidOptionError(f"dataset has to be a name or a redwood.settings.Dataset, but got {_described(given)}.")


def _described(given: Any) -> str:
    kind = type(given)
    if isinstance(given, type):
        return f"the class {given.__name__}; pass an instance"
    if kind.__module__.partition(".")[0] == "datasets":
        return f"the {kind.__name__} of Hugging Face; {_MAKE} of numpy.asarray of its columns"
    if hasattr(given, "tensors"):
        return f"a {kind.__name__}; {_MAKE}, whose x and y are in its tensors"
    if callable(given):
        return f"the function {getattr(given, '__name__', kind.__name__)}; pass what it returns"
    if any(cls.__module__.startswith("torch.utils.data") for cls in kind.__mro__):
        return f"a {kind.__name__}; stack its samples to arrays, and {_MAKE}"
    return f"a {kind.__name__}; {_MAKE}"

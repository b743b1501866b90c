"""Let readers of other packages unpickle nothing but plain values and arrays of NumPy.

Data sets are read with readers of continuum and torchvision. Of these, MetaShift of continuum unpickles the files that
it finds in the data folder. torchvision compares the pickles of CIFAR with published MD5 sums before it reads them. It
reads those of MNIST as tensors alone (`weights_only`).
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from redwood.core.errors import DataError

_PLAIN = {
    ("_codecs", "encode"),  # of bytes, in old formats
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(("builtins", name) for name in ("dict", "frozenset", "int", "list", "set")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("__builtin__", "builtins"), name) not in _PLAIN:  # Python 2 called it so
            raise DataError(
                f"A file of the data folder is a pickle that would run code, {module}.{name}, and it is not read; get "
                "the data from where it was published."
            )
        return super().find_class(module, name)


def _load(file: IO[bytes], **options: Any) -> Any:
    return _PlainUnpickler(file, **options).load()


@contextmanager
def plain_pickles() -> Iterator[None]:
    """Within the block, `pickle.load` raises `DataError` for a file that would run code."""
    usual = pickle.load, pickle.Unpickler
    vars(pickle).update(load=_load, Unpickler=_PlainUnpickler)
    try:
        yield
    finally:
        vars(pickle).update(load=usual[0], Unpickler=usual[1])

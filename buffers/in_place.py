"""Samples that must not be changed in place before they are stored."""

from weakref import ref

from torch import Tensor

from redwood.buffers.pytree import Tree, flatten
from redwood.core.errors import BufferInputError


class Unchanged:
    """Tells whether samples have been changed in place since this was made; torch counts such changes of a tensor.

    It does not keep tensors that nobody else needs any more.
    """

    def __init__(self, samples: Tree = None) -> None:
        """Look at a tree of tensors; None: at nothing."""
        leaves = [] if samples is None else flatten(samples)
        self._leaves = [(path, ref(leaf), changes_of(leaf)) for path, leaf in leaves]

    def check(self) -> None:
        """Raise `ValueError` if they have, and look away; the message names the first leaf."""
        leaves, self._leaves = self._leaves, []
        for path, reference, before in leaves:
            leaf = reference()
            if leaf is not None and changes_of(leaf) != before:
                name = f"Leaf {path}" if path else "A leaf"
                raise BufferInputError(
                    f"{name} of the incoming samples was changed in place while the buffer may still have to store it; "
                    "change a copy, as clone() makes one."
                )


def changes_of(leaf: Tensor) -> int:
    """Count the changes in place of a tensor, or of the tensor that it views; 0 where torch does not count."""
    return 0 if leaf.is_inference() else leaf._version

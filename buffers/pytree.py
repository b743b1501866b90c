"""Trees of tensors: nested mappings, lists, tuples (also named ones) and dataclasses.

None is no leaf: it stays where it is.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from torch import Tensor

from redwood.core.errors import BufferInputError

# A tree of tensors; type checkers have no name for dataclasses and named tuples of tensors at any depth.
Tree: TypeAlias = Any


def flatten(tree: Tree, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the path and the tensor of each leaf, in a fixed order.

    Raises:
        ValueError: If a leaf is no tensor.

    Examples:
        >>> import torch
        >>> [path for path, _ in flatten({"x": torch.zeros(2), "extra": (torch.zeros(2), torch.zeros(2))})]
        ['x', 'extra.0', 'extra.1']
    """
    if isinstance(tree, Tensor):
        yield path, tree
        return
    branches = _branches(tree)
    if branches is not None:
        for name, branch in branches:
            yield from flatten(branch, f"{path}.{name}" if path else str(name))
    elif tree is not None:
        where = f"leaf {path}" if path else "the sample"
        raise BufferInputError(f"A buffer stores tensors, got {type(tree).__name__} for {where}; convert it first.")


def map_leaves(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """A tree of the same structure; each leaf, of any type, is changed in the order of `flatten`."""
    if type(tree) is dict:
        return {name: map_leaves(branch, change) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        branches = [map_leaves(branch, change) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    if isinstance(tree, Mapping):
        mapping: Tree = copy(tree)
        for name, branch in tree.items():
            mapping[name] = map_leaves(branch, change)
        return mapping
    if _is_dataclass(tree):
        record = copy(tree)
        for field in fields(tree):  # frozen ones, too
            object.__setattr__(record, field.name, map_leaves(getattr(tree, field.name), change))
        return record
    return None if tree is None else change(tree)


def unflatten(tree: Tree, leaves: Iterator[Tree]) -> Tree:
    """A tree of the same structure with other leaves, in the order of `flatten`."""
    return map_leaves(tree, lambda _: next(leaves))


def structure_of(tree: Tree) -> Tree:
    """A tree of the same structure, whose leaves are their numbers in the order of `flatten`."""
    return unflatten(tree, itertools.count())


def to_plain(tree: Tree, change: Callable[[Tensor], Tensor]) -> Tree:
    """The tree with changed leaves, in dictionaries and lists alone, since a checkpoint cannot name classes."""
    if isinstance(tree, list | tuple):
        return [to_plain(branch, change) for branch in tree]
    branches = _branches(tree)
    if branches is not None:
        return {name: to_plain(branch, change) for name, branch in branches}
    return None if tree is None else change(tree)


def _branches(tree: Tree) -> Iterable[tuple[object, Tree]] | None:
    """The names and values of the entries of a container; None for a leaf."""
    if isinstance(tree, Mapping):
        return tree.items()
    if isinstance(tree, list | tuple):
        return enumerate(tree)
    return [(field.name, getattr(tree, field.name)) for field in fields(tree)] if _is_dataclass(tree) else None


def _is_dataclass(tree: Tree) -> bool:
    return is_dataclass(tree) and not isinstance(tree, type)

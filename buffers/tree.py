"""Samples are trees of tensors: nested dictionaries, lists and tuples (named ones, too)."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the path and the tensor of each leaf, in a fixed order.

    Raises:
        ValueError: If a leaf is no tensor.

    Example:
        >>> import torch
        >>> [path for path, _ in flatten({"x": torch.zeros(2), "extra": (torch.zeros(2), torch.zeros(2))})]
        ['x', 'extra.0', 'extra.1']
    """
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, dict | list | tuple):
        for name, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from flatten(branch, f"{path}.{name}" if path else str(name))
    else:
        where = f"leaf {path}" if path else "the sample"
        raise ValueError(f"A buffer stores tensors, got {type(tree).__name__} for {where}; convert it first.")


def rebuild(tree: Any, leaves: Iterator[Any]) -> Any:
    """A tree of the same structure with other leaves, taken in the order of `flatten`."""
    if isinstance(tree, dict):
        return {name: rebuild(branch, leaves) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        branches = [rebuild(branch, leaves) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    return next(leaves)


def plain(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with changed leaves, and lists for sequences of any kind: a checkpoint cannot name classes."""
    if isinstance(tree, dict):
        return {name: plain(branch, change) for name, branch in tree.items()}
    return [plain(branch, change) for branch in tree] if isinstance(tree, list | tuple) else change(tree)

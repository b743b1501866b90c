"""Samples are trees of tensors: nested dictionaries, lists and tuples (named ones, too)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
        return
    for name, branch in _branches(tree, path):
        yield from flatten(branch, f"{path}.{name}" if path else str(name))


def rebuild(tree: Any, leaves: Iterator[Any]) -> Any:
    """A tree of the same structure with other leaves, taken in the order of `flatten`."""
    if isinstance(tree, Mapping):
        return {name: rebuild(branch, leaves) for name, branch in tree.items()}
    if isinstance(tree, Sequence):
        branches = [rebuild(branch, leaves) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)  # type: ignore[call-arg]
    return next(leaves)


def plain(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with changed leaves, and lists for sequences of any kind: a checkpoint cannot name classes."""
    if isinstance(tree, Mapping):
        return {name: plain(branch, change) for name, branch in tree.items()}
    return [plain(branch, change) for branch in tree] if isinstance(tree, Sequence) else change(tree)


def _branches(tree: Any, path: str) -> list[tuple[Any, Any]]:
    if isinstance(tree, Mapping):
        return list(tree.items())
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return list(enumerate(tree))
    where = f"leaf {path}" if path else "the sample"
    raise ValueError(f"A buffer stores tensors, got {type(tree).__name__} for {where}; convert it first.")

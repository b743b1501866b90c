"""Incoming and replayed samples in one batch."""

import torch
from torch import Tensor

from redwood.buffers.pytree import Tree, flatten, map_leaves
from redwood.core.errors import BufferInputError


def tensors_of(batch: Tree) -> Tree:
    """The same batch with None in place of every value that is no tensor."""
    return map_leaves(batch, lambda leaf: leaf if isinstance(leaf, Tensor) else None)


def copied(batch: Tree) -> Tree:
    """The same batch with copies of all its tensors, where they are: what changes it in place does not reach these."""
    return map_leaves(batch, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)


def merged(batch: Tree, replayed: Tree) -> Tree:
    """A batch of the same structure: its samples (b, ...) first, then the replayed ones (r, ...).

    Values that are no tensors stay as they came: a list of b names has no entries for replayed samples.

    Raises:
        ValueError: If a leaf of both is not of one dtype and sample shape, or only one of them has it.
    """
    new, known = list(flatten(tensors_of(batch))), list(flatten(tensors_of(replayed)))
    if [path for path, _ in new] != [path for path, _ in known]:
        raise BufferInputError(
            f"The batch has the tensors {_paths(new)}, what is replayed {_paths(known)}; override merge of the "
            "strategy, which joins what samples_of returns to a batch."
        )
    pairs = list(zip(new, known, strict=True))
    for (path, incoming), (_, old) in pairs:
        if incoming.dtype != old.dtype or incoming.shape[1:] != old.shape[1:]:
            # Rows have one shape, so that hooks, which follow the storing, come too late to pad.
            remedy = "let on_after_batch_transfer make them alike"
            if incoming.shape[1:] != old.shape[1:]:
                remedy = "pad all batches to one shape in the loader's collate_fn"
            raise BufferInputError(
                f"Leaf {path} of the incoming samples is {tuple(incoming.shape[1:])} {incoming.dtype}, that of the "
                f"replayed ones {tuple(old.shape[1:])} {old.dtype}; {remedy}."
            )
    joined = iter([torch.cat([incoming, old]) for (_, incoming), (_, old) in pairs])
    return map_leaves(batch, lambda leaf: next(joined) if isinstance(leaf, Tensor) else leaf)


def _paths(leaves: list[tuple[str, Tensor]]) -> str:
    return ", ".join(path or "the sample itself" for path, _ in leaves) or "none"

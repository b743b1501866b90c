"""Validation of the placement that a policy proposes, before any sample is written."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from redwood.buffers.policies.base import NOTHING, Placement, Policy
from redwood.core.errors import BufferInputError

# From this number of samples on, torch and NumPy are faster than lists.
MANY = 100


def check_placement(policy: Policy, placement: object, n: int, n_seen: int, size: int) -> None:
    """Refuse a placement that breaks the rules of `Policy.propose`.

    Args:
        policy: The policy, after it has proposed.
        placement: The value that it has returned.
        n: Number of samples that it was offered.
        n_seen: Number of samples that it had seen before.
        size: Number of slots that were in use before.

    Raises:
        ValueError: If the placement or a count is wrong; the message names the class of the policy.
    """
    if not isinstance(placement, Placement):
        raise _error(policy, f"returns a {type(placement).__name__}; return a Placement(positions, slots)")
    if policy.n_seen != n_seen + n:
        raise _error(policy, f"counts {policy.n_seen - n_seen} of {n} samples as seen; write self.n_seen += info.n")
    filled = policy.size - size
    if placement is NOTHING and not filled:
        return
    positions, slots = placement
    for numbers in placement:
        if not isinstance(numbers, Tensor) or numbers.dtype is not torch.int64 or numbers.dim() != 1 or numbers.is_cuda:
            raise _error(
                policy, "returns a Placement of other things than int64 tensors (r,) on the host; convert them"
            )
    n_kept, n_taken = positions.numel(), slots.numel()
    if n_kept != n_taken:
        raise _error(policy, f"returns {n_kept} positions and {n_taken} slots; return one slot for each position")
    if n_kept:
        first, last = _bounds(positions)
        if first < 0 or last >= n:
            raise _error(policy, f"returns positions from {first} to {last}; choose from 0 to {n - 1}")
    if filled != n_taken or policy.size > policy.capacity or not is_range(slots, size, policy.size):
        _check_slots(policy, slots, size)


def is_range(numbers: Tensor, start: int, stop: int) -> bool:
    """True if numbers (r,), int64, are `start`, `start + 1`, ..., `stop - 1`."""
    if stop - start < MANY:
        return bool(numbers.tolist() == list(range(start, stop)))
    return torch.equal(numbers, torch.arange(start, stop))


def _bounds(numbers: Tensor) -> tuple[int, int]:
    """The least and the largest of numbers (r,)."""
    if numbers.numel() < MANY:
        listed = numbers.tolist()
        return min(listed), max(listed)
    return int(numbers.min()), int(numbers.max())


def _check_slots(policy: Policy, slots: Tensor, size: int) -> None:
    """Refuse slots (r,) unless they are distinct, and the free ones follow those that were in use before."""
    taken, n_distinct = _ascending(slots)
    if len(taken) and (taken[0] < 0 or taken[-1] >= policy.capacity):
        raise _error(policy, f"returns slots from {taken[0]} to {taken[-1]}; choose from 0 to {policy.capacity - 1}")
    if n_distinct < len(taken):
        raise _error(policy, f"returns {len(taken)} slots, of which {n_distinct} are distinct; return each slot once")
    n_free = len(taken) - bisect_left(taken, size)
    if policy.size != size + n_free or (n_free and taken[-1] >= policy.size):
        raise _error(
            policy,
            f"takes {n_free} free slots and changes self.size from {size} to {policy.size}; take slot {size} and the "
            "next ones, and add their number to self.size",
        )


def _ascending(numbers: Tensor) -> tuple[Sequence[int], int]:
    """Numbers (r,) in ascending order, and how many of them are distinct."""
    if numbers.numel() < MANY:
        listed = numbers.tolist()
        return sorted(listed), len(set(listed))
    ordered = np.sort(numbers.numpy())
    return cast("Sequence[int]", ordered), 1 + int(np.count_nonzero(ordered[1:] > ordered[:-1]))


def _error(policy: Policy, what: str) -> BufferInputError:
    return BufferInputError(f"`propose` of the policy {type(policy).__name__} {what}.")

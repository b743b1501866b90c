"""Random subsets, many at once: all subsets of one size are equally likely."""

from collections.abc import Callable

import numpy as np

from redwood.buffers.randomness import Array, CounterRandom, intervals


class StepNumbers:
    """The uniform numbers in [0, 1) that all workers use in one step; none is used twice.

    Number k of worker w in step t has the counter 2^32 t + 2^16 w + k, with k and w below 65,536 and t below 2^31.
    Values that are drawn again use negative counters, one after the other.
    """

    def __init__(self, random: CounterRandom, step: int) -> None:
        self._random, self._first, self._again = random, step << 32, 0

    def of(self, workers: Array, numbers: Array) -> Array:
        """The numbers (...) of workers (...); both are broadcast against each other."""
        return self._random.array_of(((workers << 16) + self._first) + numbers)

    def first(self, n: int) -> Array:
        """The numbers (n,) of counters from 2^32 t on: for a step in which no worker uses numbers of its own."""
        return self._random.array_of(np.arange(self._first, self._first + n))

    def again(self, n: int) -> Array:
        """Further `n` numbers (n,), which belong to no worker."""
        start = -1 - self._first - self._again
        self._again += n
        return self._random.array_of(np.arange(start, start - n, -1))


def equal_subsets(numbers: StepNumbers, workers: Array, n: int, size: int, first: int = 0) -> Array:
    """For each worker `n` of the integers below `size` >= n: (W, n), ascending, int32 or int64.

    Args:
        numbers: The random numbers; at most `n` of each worker are used.
        workers: Numbers of the workers (W,).
        n: Size of the subsets.
        size: Number of integers to choose from.
        first: First number of each worker that is used.
    """
    workers = workers[:, None]
    if n > size - n:  # fewer integers are left out than chosen
        left_out = equal_subsets(numbers, workers[:, 0], size - n, size, first).astype(np.int64)
        kept = np.ones((len(workers), size), dtype=np.bool)
        kept[np.arange(len(workers))[:, None], left_out] = False
        return (np.flatnonzero(kept.reshape(-1)) % max(size, 1)).reshape(len(workers), n)
    dtype = np.int32 if size < 1 << 31 else np.int64  # the former sorts twice as fast

    def picks(uniforms: Array) -> Array:
        uniforms *= size
        return uniforms.astype(dtype)

    rows = picks(numbers.of(workers, np.arange(first, first + n)))
    return _settled(rows, lambda repeated: picks(numbers.again(len(repeated))))


def disjoint_subsets(numbers: StepNumbers, n_workers: int, n: int, size: int) -> Array:
    """For each worker `n` of the integers below `size`, no two workers the same ones: (W, n), ascending, int64.

    Together they are one ordered subset of W n <= `size` integers, every one equally likely, cut into parts.
    """
    wanted, workers = n_workers * n, np.arange(n_workers)[:, None]
    if 2 * wanted > size:  # the first ones of all integers, shuffled
        n_each = -(-size // n_workers)
        chosen = numbers.of(workers, np.arange(n_each)).reshape(-1)[:size].argsort(kind="stable")[:wanted]
    else:
        chosen = (numbers.of(workers, np.arange(n)).reshape(-1) * size).astype(np.int64)
        bits = wanted.bit_length()
        places = np.arange(wanted)
        while True:
            # Of places with one value the first one keeps it: which value that is makes no difference.
            keys = chosen << bits | places
            keys.sort()
            values = keys >> bits
            repeated = keys[1:][values[1:] == values[:-1]] & ((1 << bits) - 1)
            if not len(repeated):
                break
            chosen[repeated] = (numbers.again(len(repeated)) * size).astype(np.int64)
    subsets: Array = chosen.reshape(n_workers, n)
    subsets.sort(axis=1)
    return subsets


def unequal_subsets(numbers: StepNumbers, workers: Array, starts: Array, sizes: Array, shares: Array) -> Array:
    """A subset of each of S intervals of integers, all in one array (D,), int64, in no order.

    Args:
        numbers: The random numbers; a worker uses at most as many as it gets integers.
        workers: The worker whose numbers are used for each interval (S,), ascending.
        starts: First integer of each interval (S,), ascending; intervals do not overlap.
        sizes: Length of each interval (S,).
        shares: Size of each subset (S,).
    """
    by_rest = 2 * shares > sizes  # fewer integers are left out than chosen
    segments = np.repeat(np.arange(len(starts)), np.where(by_rest, sizes - shares, shares))
    drawers = workers[segments]
    used = np.bincount(drawers)
    ranks = np.arange(len(segments)) - (used.cumsum(0) - used)[drawers]

    def picks(segments: Array, uniforms: Array) -> Array:
        uniforms *= sizes[segments]
        values: Array = uniforms.astype(np.int64) + starts[segments]
        return values

    def again(repeated: Array) -> Array:
        segments: Array = intervals(repeated, starts) - 1
        return picks(segments, numbers.again(len(repeated)))

    found: Array = _settled(picks(segments, numbers.of(drawers, ranks))[None], again)[0]
    if not by_rest.any():
        return found
    is_rest = by_rest[segments]
    starts, sizes = starts[by_rest], sizes[by_rest]
    ends = sizes.cumsum(0)
    every = np.arange(int(ends[-1])) + np.repeat(starts - ends + sizes, sizes)
    kept = np.ones(len(every), dtype=np.bool)
    kept[np.searchsorted(every, found[is_rest])] = False
    return np.concatenate([found[~is_rest], every[kept]])


def _settled(rows: Array, again: Callable[[Array], Array]) -> Array:
    """Sort each row (R, n), contiguous, and draw values again that are twice in their row, until there are none.

    The values themselves do not decide which ones are drawn again, so that all subsets stay equally likely.
    """
    rows.sort(axis=1)
    flat, width = rows.reshape(-1), rows.shape[1]
    repeated = np.flatnonzero(flat[1:] == flat[:-1]) + 1
    if len(repeated):
        repeated = repeated[repeated % width != 0]
    if len(repeated):
        flat[repeated] = again(flat[repeated])
        unsettled = np.unique(repeated // width)
        rows[unsettled] = _settled(rows[unsettled], again)
    return rows

"""Counter-based random numbers: each is a pure function of a key and a counter.

So there is no state to save. Arrival i gets the same number, however a stream is cut into batches.
"""

import zlib
from array import array
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array: TypeAlias = npt.NDArray[Any]


def intervals(values: Array, ends: Array) -> Array:
    """The numbers of the intervals that values (...), int64, are in.

    Args:
        values: At least 0.
        ends: Ends (C,), int64, of consecutive intervals, the first of which starts at 0.
    """
    return np.searchsorted(ends, values, side="right")


_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 4096
_STEPS, _STEP_BITS = 64, 20
_WIDE = 512


# SplitMix64 (Steele, Lea and Flood, 2014): shift and multiply, twice, and a last shift.
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def mix(value: int) -> int:
    """The output function of SplitMix64 on one integer below 2^64."""
    for shift, factor in _ROUNDS:
        value = ((value ^ (value >> shift)) * factor) & _MASK
    return value


def _mix_array(values: Array, shifted: Array) -> None:
    """The same in place on unsigned integers of 64 bits, given memory for another array."""
    for shift, factor in _ROUNDS:
        np.right_shift(values, np.uint64(shift), out=shifted)
        values ^= shifted
        if factor != 1:
            values *= np.uint64(factor)


def derive_key(*parts: int | str) -> int:
    """A key of 64 bits that depends on every part and on their order."""
    key = len(parts)
    for part in parts:
        key = mix((key + _GOLDEN + (zlib.crc32(part.encode()) if isinstance(part, str) else part)) & _MASK)
    return key


class CounterRandom:
    """Uniform draws in [0, 1), float64, indexed by a counter.

    Two rounds of SplitMix64, with a key in each: the sequences of two keys are not shifted copies of each other.

    Examples:
        >>> random = CounterRandom(0, "slots")
        >>> torch.equal(random.uniforms(torch.arange(5, 9)), random.run(0, 9)[5:])
        True
    """

    def __init__(self, *key: int | str) -> None:
        """Name the sequence by any integers and strings."""
        self._inner, self._outer = np.uint64(derive_key(*key, 0)), np.uint64(derive_key(*key, 1))
        self._block_start, self._block = -1, torch.empty(0)

    def uniforms(self, counters: Tensor) -> Tensor:
        """One draw for each counter (...), int64."""
        return torch.from_numpy(self.array_of(counters.numpy()))

    def array_of(self, counters: Array) -> Array:
        """The same of arrays."""
        # Unsigned integers of NumPy: their shifts need no mask, and a call costs less than one of torch.
        bits = counters.astype(np.uint64)
        shifted = np.empty_like(bits)
        bits *= np.uint64(_GOLDEN)
        bits += self._inner
        _mix_array(bits, shifted)
        bits ^= self._outer
        _mix_array(bits, shifted)
        bits >>= np.uint64(11)
        draws = shifted.view(np.float64)
        np.multiply(bits.view(np.int64), 2.0**-53, out=draws)
        return draws

    def run(self, start: int, n: int) -> Tensor:
        """The draws (n,) of the counters start, start + 1, ...; blocks of 4,096 are computed at once and kept."""
        block_start = start - start % _BLOCK
        if start + n > block_start + _BLOCK:
            return self.uniforms(torch.arange(start, start + n))
        if block_start != self._block_start:
            self._block_start = block_start
            self._block = self.uniforms(torch.arange(block_start, block_start + _BLOCK))
        return self._block[start - block_start : start - block_start + n]


class StepRandom:
    """Uniform draws in [0, 1) indexed by a step and a number within it; draws of 64 steps are computed at once."""

    def __init__(self, *key: int | str) -> None:
        """Name the sequence by any integers and strings."""
        self._random = CounterRandom(*key)
        self._first, self._width = -1, 0
        self._rows: list[list[float]] = []

    def uniforms(self, step: int, n: int) -> list[float]:
        """The first `n` draws of a step; n below 2^20."""
        if n > _WIDE:
            draws: list[float] = self._wide(step, n).tolist()
            return draws
        first = step - step % _STEPS
        if first != self._first or self._width < n:
            steps = torch.arange(first, first + _STEPS) << _STEP_BITS
            self._first, self._width = first, n
            self._rows = self._random.uniforms(steps[:, None] + torch.arange(n)).tolist()
        return self._rows[step - first][:n]

    def _wide(self, step: int, n: int) -> Tensor:
        return self._random.uniforms((step << _STEP_BITS) + torch.arange(n))

    def distinct(self, step: int, n: int, population: int) -> Tensor:
        """`n` distinct integers (n,) below `population` >= n, every ordered choice equally likely; int64."""
        if n <= _WIDE:
            return integers(choose(range(population), self.uniforms(step, n)))
        if population <= 4 * n:
            return self._wide(step, population).argsort()[:n]
        # The first n distinct values of a sequence of uniform draws; a dict keeps the order of first appearance.
        length = n + n // 2
        while True:
            chosen = dict.fromkeys((self._wide(step, length) * population).long().tolist())
            if len(chosen) >= n:
                return integers(list(chosen)[:n])
            length *= 2


def choose(items: Sequence[int], draws: Sequence[float]) -> list[int]:
    """As many distinct items as there are uniform draws in [0, 1): a Fisher-Yates shuffle that stops early."""
    moved: dict[int, int] = {}
    chosen, size = [], len(items)
    for i, draw in enumerate(draws):
        j = i + int(draw * (size - i))
        chosen.append(items[moved.get(j, j)])
        moved[j] = moved.get(i, i)
    return chosen


def integers(values: Sequence[int]) -> Tensor:
    """The values as a tensor (n,), int64; several times as fast as `torch.tensor`, which inspects each value."""
    return torch.frombuffer(array("q", values), dtype=torch.int64) if values else torch.empty(0, dtype=torch.int64)

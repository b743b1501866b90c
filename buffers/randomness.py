"""Counter-based random numbers: each is a pure function of a key and a counter.

So there is no state to save, and it does not matter how a stream was cut into batches: arrival i meets the same number.
"""

import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

np: Any
try:
    import numpy as np
except ImportError:
    np = None

__all__ = ["np"]


# A NumPy array, or a tensor on the host.
Array = Any


def library() -> Any:
    """The module that has functions of arrays."""
    return torch if np is None else np


def to_array(tensor: Tensor) -> Array:
    """A tensor on the host as an array, sharing memory."""
    return tensor if np is None else tensor.numpy()


def to_tensor(array: Array) -> Tensor:
    """An array as a tensor, sharing memory."""
    return array if np is None else torch.from_numpy(array)  # type: ignore[no-any-return]


def whole(values: Array, *, short: bool = False) -> Array:
    """Values (...) >= 0 rounded down, as int64 or, if `short`, int32."""
    if np is None:
        return values.to(torch.int32 if short else torch.int64)
    return values.astype(np.int32 if short else np.int64)


def indices(mask: Array) -> Array:
    """Where a mask (n,) is true (m,), int64."""
    return mask.nonzero()[:, 0] if np is None else np.flatnonzero(mask)


def repeat(values: Array, times: Array) -> Array:
    """Each value (n,) as often as its number of times (n,) says."""
    return values.repeat_interleave(times) if np is None else values.repeat(times)


def intervals(values: Array, ends: Array) -> Array:
    """Which of consecutive intervals, starting from 0, with these ends (C,), int64, values (...), int64, are in."""
    return library().searchsorted(ends, values, side="right")


def sort_rows(rows: Array) -> None:
    """Sort each row (R, n), contiguous, in place."""
    if np is None:
        rows.copy_(rows.sort(dim=1).values)
    else:
        rows.sort(axis=1)


_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_BLOCK = 4096
_STEPS, _STEP_BITS = 64, 20
_WIDE = 512


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


# SplitMix64 (Steele, Lea and Flood, 2014): shift and multiply, twice, and a last shift.
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_SIGNED_ROUNDS = tuple((shift, (1 << (64 - shift)) - 1, _signed(factor)) for shift, factor in _ROUNDS)


def mix(value: int) -> int:
    """The output function of SplitMix64 on one integer below 2^64."""
    for shift, factor in _ROUNDS:
        value = ((value ^ (value >> shift)) * factor) & _MASK
    return value


def mix_(values: Tensor) -> Tensor:
    """The same in place on int64 (...), read as unsigned."""
    for shift, mask, factor in _SIGNED_ROUNDS:
        values ^= (values >> shift) & mask
        values *= factor
    return values


def _mix_array(values: Any, shifted: Any) -> None:
    """The same in place on a NumPy array of unsigned integers, given memory for another one."""
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

    Two rounds of SplitMix64 with a key in each, so that the sequences of two keys are no shifted copies of each other.

    Example:
        >>> random = CounterRandom(0, "slots")
        >>> torch.equal(random.uniforms(torch.arange(5, 9)), random.run(0, 9)[5:])
        True
    """

    def __init__(self, *key: int | str) -> None:
        """Name the sequence by any integers and strings."""
        self._inner, self._outer = _signed(derive_key(*key, 0)), _signed(derive_key(*key, 1))
        self._golden = _signed(_GOLDEN)
        self._block_start, self._block = -1, torch.empty(0)

    def uniforms(self, counters: Tensor) -> Tensor:
        """One draw for each counter (...), int64."""
        return self._by_torch(counters) if np is None else self._by_numpy(counters)

    def _by_numpy(self, counters: Tensor) -> Tensor:
        """The same numbers in half the time: shifts of unsigned integers need no mask, and calls cost less."""
        bits = counters.numpy().astype(np.uint64)
        shifted = np.empty_like(bits)
        bits *= np.uint64(_GOLDEN)
        bits += np.uint64(self._inner & _MASK)
        _mix_array(bits, shifted)
        bits ^= np.uint64(self._outer & _MASK)
        _mix_array(bits, shifted)
        bits >>= np.uint64(11)
        draws = shifted.view(np.float64)
        np.multiply(bits.view(np.int64), 2.0**-53, out=draws)
        return torch.from_numpy(draws)

    def _by_torch(self, counters: Tensor) -> Tensor:
        bits = counters * self._golden
        bits += self._inner
        mix_(bits)
        bits ^= self._outer
        mix_(bits)
        bits >>= 11
        bits &= (1 << 53) - 1
        return bits.double().mul_(2.0**-53)

    def run(self, start: int, n: int) -> Tensor:
        """The draws (n,) of counters start, start + 1, ...; blocks of 4,096 are made at once and kept."""
        block_start = start - start % _BLOCK
        if start + n > block_start + _BLOCK:
            return self.uniforms(torch.arange(start, start + n))
        if block_start != self._block_start:
            self._block_start = block_start
            self._block = self.uniforms(torch.arange(block_start, block_start + _BLOCK))
        return self._block[start - block_start : start - block_start + n]


class StepRandom:
    """Uniform draws in [0, 1) indexed by a step and a number within it; those of 64 steps are made at once."""

    def __init__(self, *key: int | str) -> None:
        """Name the sequence by any integers and strings."""
        self._random = CounterRandom(*key)
        self._first, self._width = -1, 0
        self._rows: list[list[float]] = []

    def uniforms(self, step: int, n: int) -> list[float]:
        """The first `n` draws of a step; n below 2^20."""
        if n > _WIDE:
            return self._wide(step, n).tolist()  # type: ignore[no-any-return]
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
    """The values as a tensor (n,), int64; several times as fast as `torch.tensor`, which looks at each of them."""
    return torch.frombuffer(array("q", values), dtype=torch.int64) if values else torch.empty(0, dtype=torch.int64)

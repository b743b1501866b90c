"""A random permutation of many integers, of which any part can be computed without the rest."""

from math import isqrt

import numpy as np

from redwood.buffers.randomness import Array
from redwood.buffers.samplers.random_subsets import StepNumbers

# Six still keep a difference of halves some percent more often than chance does; of eight no test has found that.
ROUNDS = 8


class KeyedPermutation:
    """A random permutation of the integers below `size`, and its inverse, each at any place in constant time.

    A Feistel network whose two halves are integers below a and b, where a b is `size` or a little more (Black and
    Rogaway, 2002, "Ciphers with Arbitrary Finite Domains", section 5). A value beyond `size` is mapped again until it
    is below (section 3). The functions of the rounds are tables of random numbers, 8 sqrt(size) in all.
    """

    def __init__(self, numbers: StepNumbers, size: int) -> None:
        """Draw the permutation from the numbers of a step, of which no others may be used."""
        self._size = size
        root = isqrt(size - 1) + 1
        # The one with the fewest values beyond `size`.
        self._a = min(range(root, root + 24), key=lambda a: -size % a)
        self._b = -(-size // self._a)
        draws, width = numbers.first(ROUNDS // 2 * (self._a + self._b)), self._a + self._b
        tables = draws.reshape(ROUNDS // 2, width)
        # What is added to a half, by the value of the other half.
        self._to_left = (tables[:, : self._b] * self._a).astype(np.uint32)
        self._to_right = (tables[:, self._b :] * self._b).astype(np.uint32)

    def of(self, values: Array) -> Array:
        """Return the images of integers (...), int64."""
        left, right = self._halves(values)
        a, b = np.uint32(self._a), np.uint32(self._b)
        for to_left, to_right in zip(self._to_left, self._to_right, strict=True):
            left += to_left[right]
            np.minimum(left, left - a, out=left)  # modulo a: what is below 0 wraps around
            right += to_right[left]
            np.minimum(right, right - b, out=right)
        mapped = self._joined(left, right)
        beyond = np.flatnonzero(mapped >= self._size)
        if len(beyond):
            mapped[beyond] = self.of(mapped[beyond])
        return mapped

    def inverse(self, values: Array) -> Array:
        """Return the integers whose images these (...), int64, are."""
        left, right = self._halves(values)
        a, b = np.uint32(self._a), np.uint32(self._b)
        for to_left, to_right in zip(self._to_left[::-1], self._to_right[::-1], strict=True):
            right -= to_right[left]
            np.minimum(right, right + b, out=right)
            left -= to_left[right]
            np.minimum(left, left + a, out=left)
        mapped = self._joined(left, right)
        beyond = np.flatnonzero(mapped >= self._size)
        if len(beyond):
            mapped[beyond] = self.inverse(mapped[beyond])
        return mapped

    def _halves(self, values: Array) -> tuple[Array, Array]:
        left = values // self._b
        return left.astype(np.uint32), (values - left * self._b).astype(np.uint32)

    def _joined(self, left: Array, right: Array) -> Array:
        joined: Array = left.astype(np.int64)
        joined *= self._b
        joined += right
        return joined

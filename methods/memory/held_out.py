"""Which samples of a stream are never trained on, decided by what they are."""

import torch
from torch import Tensor

from redwood.settings.seeding import generator

LOOKED_AT = 1024  # numbers of a sample that decide about it
BITS = 30


class HeldOut:
    """A random share of all samples, told by their content.

    So a sample is held out in all passes, on all workers and after a resume, without a list of those that are; and so
    are all its copies.
    """

    def __init__(self, share: float, seed: int) -> None:
        """Hold out about `share` of all samples, others for another seed."""
        self._limit = int(share * 2**BITS)
        self._factors = torch.randint(-(2**62), 2**62, (LOOKED_AT,), generator=generator(seed, "held out")) | 1

    def __call__(self, x: Tensor) -> Tensor:
        """Which samples (B, ...), in their storage dtype, are held out: (B,), bool, on their device."""
        numbers = x.flatten(1)
        numbers = numbers[:, :: -(-numbers.shape[1] // LOOKED_AT)].contiguous()
        if numbers.is_floating_point():
            numbers = numbers.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[numbers.element_size()])
        self._factors = self._factors.to(x.device)
        mixed = (numbers.long() * self._factors[: numbers.shape[1]]).sum(1)
        # The upper half of a product depends on all bits of its factors.
        mixed = (mixed ^ (mixed >> 32)) * 0x2545F4914F6CDD1D
        held_out: Tensor = (mixed >> 33) & (2**BITS - 1) < self._limit
        return held_out

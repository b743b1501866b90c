"""Random numbers of a run: each random choice follows from the seed of the run and a name for the choice."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from redwood.core.state import State


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose. Seeds of different purposes are independent; each is the same on every machine.

    Examples:
        >>> derive_seed(0, "class order") == derive_seed(0, "class order") != derive_seed(0, "rotation", 1)
        True
    """
    words = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in purpose]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A new torch generator for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Set the global generators of Python, NumPy and torch, for code that draws from them."""
    derived = derive_seed(seed, *purpose)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    torch.manual_seed(derived)


def random_state() -> State:
    """The state of the global generators, as tensors and plain values."""
    version, internal, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: State) -> None:
    """Set the global generators to a state that `random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), None if gauss is None else float(gauss)))
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    # A resumed run may have fewer GPUs.
    for index, saved in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(saved, index)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the global generators after the body, whatever it draws."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)

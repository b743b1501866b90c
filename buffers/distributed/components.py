"""What can serve a buffer that several workers share: policies, samplers, numbers and devices."""

from typing import SupportsIndex

import torch

from redwood.buffers.component import component_class
from redwood.buffers.policies import POLICIES, PerClassRandom, Policy
from redwood.buffers.samplers import SAMPLERS, Sampler
from redwood.core.errors import BufferInputError

# Side information of a sample that is known before it is trained on.
_KNOWN = frozenset({"labels", "tasks"})


def make_policy(policy: Policy | str | None, candidates: int | None) -> Policy | str:
    """The policy that an option asks for.

    Args:
        policy: A new policy, the name of one, or None.
        candidates: Instead: the candidates c of `per_class_random`.

    Raises:
        ValueError: If both are given, or the policy needs information that is only known after the forward pass.
    """
    if candidates is not None:
        if policy is not None:
            raise BufferInputError(
                f"candidates={candidates} chooses the policy per_class_random; leave out policy={policy!r}."
            )
        return PerClassRandom(candidates)
    if policy is None:
        return "reservoir"
    check_policy(policy)
    return policy


def check_policy(policy: Policy | str) -> None:
    """Raise `ValueError` if there is no such policy, or it needs what is only known after the forward pass."""
    kind = component_class(policy, POLICIES, "policy")
    if not kind.needs <= _KNOWN:
        fit = ", ".join(name for name, known in POLICIES.items() if known.needs <= _KNOWN)
        raise BufferInputError(
            f"The policy {kind.__name__} needs {' and '.join(sorted(kind.needs - _KNOWN))}, which are known only after "
            f"the forward pass, too late to hide an exchange; choose one of {fit}."
        )


def check_sampler(sampler: Sampler | str) -> None:
    """Raise `ValueError` if there is no such sampler, or if it cannot draw from several workers' buffers."""
    kind = component_class(sampler, SAMPLERS, "sampler")
    if not kind.shared:
        fit = ", ".join(name for name, known in SAMPLERS.items() if known.shared)
        raise BufferInputError(
            f"The sampler {kind.__name__} looks at stored rows, some of which other workers have; choose one of {fit}."
        )


def check_sizes(**sizes: object) -> None:
    """Raise `ValueError` if a number of samples is no whole number, or less than 1."""
    for name, value in sizes.items():
        if not isinstance(value, SupportsIndex):
            raise BufferInputError(f"{name} has to be a whole number, got {value!r}.")
        if value.__index__() < 1:
            raise BufferInputError(f"{name} has to be at least 1, got {value}.")


def check_world(buffer_size: int, world: int, *, before: int | None = None) -> None:
    """Raise `ValueError` if a buffer is too small for so many workers, or was shared by another number before."""
    if before not in (None, world):
        raise BufferInputError(
            f"This buffer was shared by {before} workers and now there are {world}; start as many, "
            "or make a new buffer and load a checkpoint, whose rows are distributed to any number."
        )
    if buffer_size < world:
        raise BufferInputError(
            f"buffer_size={buffer_size} has to be at least the number of workers, {world}; enlarge it."
        )


def check_place(device: torch.device, *, is_unmarked: bool) -> None:
    """Raise `ValueError` if there is no such device, or nothing marks the rows of the tier `shared`."""
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BufferInputError(f"device={device} needs a CUDA device, and there is none; choose cpu.")
    if is_unmarked:
        raise BufferInputError(
            "tier=shared needs the checkpoints of a strategy, to which its rows go back; in a loop of your own "
            "choose host."
        )

"""Which policies and samplers can serve several workers."""

from redwood.buffers.errors import BufferInputError
from redwood.buffers.parts import kind_of
from redwood.buffers.policies import POLICIES, PerClassRandom, Policy
from redwood.buffers.samplers import SAMPLERS, Sampler

# What can be known of a sample before it is trained on.
_KNOWN = frozenset({"labels", "tasks"})


def make_policy(policy: Policy | str | None, candidates: int | None) -> Policy | str:
    """The policy that was asked for.

    Args:
        policy: A new policy, the name of one, or None.
        candidates: Instead: the candidates c of `per_class_random`.

    Raises:
        ValueError: If both are given, or the policy has to be told what is only known after the forward pass.
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
    """Raise `ValueError` if there is no such policy, or it has to be told what is only known after the forward pass."""
    kind = kind_of(policy, POLICIES, "policy")
    if not kind.needs <= _KNOWN:
        fit = ", ".join(name for name, known in POLICIES.items() if known.needs <= _KNOWN)
        raise BufferInputError(
            f"The policy {kind.__name__} has to be told {' and '.join(sorted(kind.needs - _KNOWN))}, which are only "
            f"known once it is too late to hide an exchange; choose one of {fit}."
        )


def check_sampler(sampler: Sampler | str) -> None:
    """Raise `ValueError` if there is no such sampler, or if it cannot draw from several workers' buffers."""
    kind = kind_of(sampler, SAMPLERS, "sampler")
    if not kind.shared:
        fit = ", ".join(name for name, known in SAMPLERS.items() if known.shared)
        raise BufferInputError(
            f"The sampler {kind.__name__} looks at stored rows, which other workers have; choose one of {fit}."
        )

"""Validation of a snapshot before a buffer is restored from it."""

from copy import copy

from redwood.buffers.component import Component
from redwood.buffers.layout import batch_size
from redwood.buffers.policies import Policy
from redwood.buffers.pytree import flatten
from redwood.buffers.samplers import Sampler
from redwood.core.errors import BufferInputError
from redwood.core.state import State

# Of what `RehearsalBuffer.state_dict` returns.
FORMAT = 2


def describe(component: Component) -> State:
    """The name and the options of a component, which have to be equal when a snapshot is loaded."""
    return {"name": type(component).__name__, "options": component.options()}


def restored_components(state: State, policy: Policy, sampler: Sampler, capacity: int | None) -> tuple[Policy, Sampler]:
    """Copies of a policy and a sampler in the state of a snapshot.

    Args:
        state: What `RehearsalBuffer.state_dict` returned.
        policy: Left as it is.
        sampler: Left as it is.
        capacity: The capacity that the snapshot has to be of; None: any.

    Raises:
        ValueError: If the snapshot is damaged, or of another capacity, policy or sampler.
    """
    try:
        return _restored(state, copy(policy), copy(sampler), capacity)
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise BufferInputError(
            f"The saved buffer is damaged ({type(error).__name__}: {error}); load another one."
        ) from error


def _restored(state: State, policy: Policy, sampler: Sampler, capacity: int | None) -> tuple[Policy, Sampler]:
    if state.get("format") != FORMAT:
        raise BufferInputError(
            f"The saved buffer is of format {state.get('format', 1)}, and this version reads format {FORMAT}; "
            "start the run anew."
        )
    saved, seed, rows, _ = (state[name] for name in ("capacity", "seed", "rows", "step"))
    if capacity is not None and saved != capacity:
        raise BufferInputError(
            f"The saved buffer holds {saved} samples and this one {capacity}; make it with capacity={saved}."
        )
    for component, kind in ((policy, "policy"), (sampler, "sampler")):
        name = state[kind]["name"]
        if name != type(component).__name__:
            raise BufferInputError(
                f"The saved buffer has the {kind} {name} and this one {type(component).__name__}; "
                "make it with the saved one."
            )
        if state[kind]["options"] != component.options():
            raise BufferInputError(
                f"The saved buffer has a {name} with {state[kind]['options']} and this one with {component.options()}; "
                "make it with the saved ones."
            )
    # Both start anew, so that these copies share nothing with what they were copied from.
    policy.bind(saved or 0, seed)
    policy.load_state_dict(state["policy"])
    sampler.bind(seed)
    if policy.classes is not None:
        sampler.use_classes(policy.classes)
    sampler.load_state_dict(state["sampler"])
    n = 0 if rows is None else batch_size(list(flatten(rows)))
    lengths = [n, *(len(state["slot_statistics"][name]) for name in ("arrivals", "draws"))]
    if any(length != policy.size for length in lengths) or n > (saved or 0):
        raise KeyError(f"{policy.size} samples are missing")
    for component in (policy, sampler):
        if not component.validate_slots(n):
            raise KeyError(f"{type(component).__name__} does not know its {n} slots")
    return policy, sampler

"""Side information of samples: labels, tasks, losses and features, which policies and samplers need."""

from collections.abc import Mapping

import torch
from torch import Tensor

from redwood.buffers.policies import CandidateInfo, Policy
from redwood.buffers.pytree import Tree
from redwood.buffers.samplers import Sampler
from redwood.core.errors import BufferInputError

NAMES = ("labels", "tasks", "losses", "features")
# The leaf that is taken if side information is not passed.
LEAVES = {"labels": "y", "tasks": "task_id"}
_DIMS = {"tasks": ("(B,)", 1), "losses": ("(B,)", 1), "features": ("(B, d)", 2)}


def make_candidate_info(
    policy: Policy, sampler: Sampler, samples: Tree, n: int, given: Mapping[str, Tensor | None], n_classes: int | None
) -> CandidateInfo:
    """The side information of `n` samples that a policy and a sampler need, and no more.

    Args:
        policy: Names what it needs.
        sampler: Likewise.
        samples: The samples themselves.
        n: Their number.
        given: The side information that was passed, by name, or None.
        n_classes: Labels have to be below it, if given.

    Raises:
        ValueError: If something is missing, or does not fit to the samples.
    """
    needs = policy.needs | sampler.needs - {"rate"}  # a sampler gets scores with each draw
    if not needs:
        return CandidateInfo(n)
    side_info = {}
    for name in NAMES:
        if name not in needs:
            continue
        owner = policy if name in policy.needs else sampler
        side_info[name] = require(name, given.get(name), samples, n, type(owner).__name__)
    if "labels" in side_info:
        sets = policy.takes_sets and "labels" not in sampler.needs
        side_info["labels"] = checked_labels(side_info["labels"], n_classes, sets=sets)
    return CandidateInfo(n, **side_info)


def require(name: str, given: Tensor | None, samples: Tree, n: int, who: str) -> Tensor:
    """One kind of side information of the samples, on the host.

    Args:
        name: `labels`, `tasks`, `losses` or `features`.
        given: The side information that was passed, or None: the leaf of that meaning is taken.
        samples: The samples themselves.
        n: Their number.
        who: Name of the policy or sampler that needs it.

    Raises:
        ValueError: If it is missing, or does not fit to the samples.
    """
    leaf = LEAVES.get(name)
    if given is None and leaf is not None:
        named = samples.get(leaf) if isinstance(samples, Mapping) else getattr(samples, leaf, None)
        given = named if isinstance(named, Tensor) else None
    if given is None:
        remedy = f"pass {name}=..." if leaf is None else f"add a leaf {leaf}, or pass {name}=..."
        raise BufferInputError(f"{who} needs the {name} of the samples; {remedy}")
    if given.dim() == 0 or len(given) != n:
        raise BufferInputError(
            f"There are {n} samples, but {name} is of shape {tuple(given.shape)}; give one for each."
        )
    if name in _DIMS and given.dim() != _DIMS[name][1]:
        raise BufferInputError(
            f"The {name} have to be of shape {_DIMS[name][0]}, got {tuple(given.shape)}; reshape them."
        )
    if name == "tasks" and given.is_floating_point():
        raise BufferInputError(f"The tasks have to be integers (B,), got {given.dtype}; convert them.")
    given = given.detach().cpu()
    if name in ("losses", "features") and not bool(torch.isfinite(given).all()):
        raise BufferInputError(f"The {name} of some samples are no finite numbers; look for what has diverged.")
    return given


def checked_labels(labels: Tensor, n_classes: int | None, *, sets: bool) -> Tensor:
    """Make sure that labels can be told apart.

    Args:
        labels: Classes (n,), or label sets (n, L).
        n_classes: Classes have to be below it, if given.
        sets: Whether label sets are accepted.

    Returns:
        Classes as int64, label sets as bool.

    Raises:
        ValueError: If they are no integers, negative, or too large, or sets where these are not accepted.
    """
    if labels.is_floating_point() or labels.dim() > 1 + sets:
        wanted = "integers (B,) or sets (B, L)" if sets else "integers (B,)"
        raise BufferInputError(
            f"The labels have to be {wanted}, got {labels.dtype} {tuple(labels.shape)}; convert them."
        )
    if labels.dim() == 2 and labels.dtype != torch.bool:
        raise BufferInputError(f"Label sets (B, L) have to be bool, got {labels.dtype}; convert them.")
    labels = labels if labels.dim() == 2 else labels.long()
    if not labels.numel():
        return labels
    if labels.dim() == 2:
        low, high = 0, labels.shape[1] - 1
    else:
        low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise BufferInputError(f"The label {low} is negative; number classes from 0.")
    if n_classes is not None and high >= n_classes:
        raise BufferInputError(f"The label {high} has to be below {n_classes}, as n_classes={n_classes} says.")
    return labels

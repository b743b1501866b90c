"""Policies: which samples a buffer keeps, and where. They see labels, losses and features, never the samples."""

from redwood.buffers.policies.base import Offer, Placement, Policy
from redwood.buffers.policies.class_balanced import ClassBalancedReservoir
from redwood.buffers.policies.class_quota import ClassQuota
from redwood.buffers.policies.greedy_balanced import GreedyBalanced
from redwood.buffers.policies.herding import Herding, herd
from redwood.buffers.policies.loss_aware import LossAwareReservoir
from redwood.buffers.policies.partitioning import PartitioningReservoir
from redwood.buffers.policies.per_class_random import PerClassRandom
from redwood.buffers.policies.reservoir import Reservoir
from redwood.buffers.policies.ring import Ring

POLICIES: dict[str, type[Policy]] = {
    "reservoir": Reservoir,
    "class_balanced": ClassBalancedReservoir,
    "ring": Ring,
    "greedy_balanced": GreedyBalanced,
    "per_class_random": PerClassRandom,
    "partitioning": PartitioningReservoir,
    "herding": Herding,
    "loss_aware": LossAwareReservoir,
}

__all__ = [
    "POLICIES",
    "ClassBalancedReservoir",
    "ClassQuota",
    "GreedyBalanced",
    "Herding",
    "LossAwareReservoir",
    "Offer",
    "PartitioningReservoir",
    "PerClassRandom",
    "Placement",
    "Policy",
    "Reservoir",
    "Ring",
    "herd",
]

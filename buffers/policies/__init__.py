"""Policies: which samples a buffer keeps, and where. They see labels, losses and features, never the samples."""

from redwood.buffers.policies.base import CandidateInfo, Placement, Policy
from redwood.buffers.policies.herding import Herding, herd
from redwood.buffers.policies.partitioning import PartitioningReservoir
from redwood.buffers.policies.per_class import ClassBalancedReservoir, ClassQuota, GreedyBalanced, PerClassRandom, Ring
from redwood.buffers.policies.reservoir import LossAwareReservoir, Reservoir

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
    "CandidateInfo",
    "ClassBalancedReservoir",
    "ClassQuota",
    "GreedyBalanced",
    "Herding",
    "LossAwareReservoir",
    "PartitioningReservoir",
    "PerClassRandom",
    "Placement",
    "Policy",
    "Reservoir",
    "Ring",
    "herd",
]

"""Samplers: which stored rows form a draw."""

from redwood.buffers.samplers.balanced import ClassBalanced, OldTasks, TaskBalanced
from redwood.buffers.samplers.base import Rate, Sampler
from redwood.buffers.samplers.grasp import Grasp
from redwood.buffers.samplers.maximally_interfered import MaximallyInterfered
from redwood.buffers.samplers.uniform import Uniform

SAMPLERS: dict[str, type[Sampler]] = {
    "uniform": Uniform,
    "class_balanced": ClassBalanced,
    "task_balanced": TaskBalanced,
    "old_tasks": OldTasks,
    "mir": MaximallyInterfered,
    "grasp": Grasp,
}

__all__ = [
    "SAMPLERS",
    "ClassBalanced",
    "Grasp",
    "MaximallyInterfered",
    "OldTasks",
    "Rate",
    "Sampler",
    "TaskBalanced",
    "Uniform",
]

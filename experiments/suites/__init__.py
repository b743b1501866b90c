"""Suites of reinforcement learning: `--suite NAME` gives the environments, the budget and an agent's options."""

from redwood.experiments.suites.choice import suite_arguments

__all__ = ["suite_arguments"]

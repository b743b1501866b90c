"""Agents of Stable-Baselines3 as methods, and the parts that make them continual learners."""

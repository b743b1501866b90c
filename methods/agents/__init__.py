"""Agents of Stable-Baselines3 as methods, and what makes them continual learners."""

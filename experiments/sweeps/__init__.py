"""Sweeps: many trials of one setting and method. The trial with the best held-out score then runs with all seeds."""

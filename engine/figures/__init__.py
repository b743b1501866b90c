"""Figures of runs and of comparisons."""

"""Sweeps: many trials of one pair with other options; the best one on held-out samples is run on all seeds."""

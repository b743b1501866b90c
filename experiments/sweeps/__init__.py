"""Sweeps: many trials of one pair with other options, of which the best on held-out samples is run on all seeds."""

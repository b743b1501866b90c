"""Acquisition: a setting whose method decides of which slice it gets more samples, within a budget."""

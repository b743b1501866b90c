"""Acquisition: a setting in which the method buys more samples of chosen slices, within a budget.

Paper: Tae & Whang, "Slice Tuner" (SIGMOD 2021). Claim: its purchases make the largest equalised error rate at most 0.8
times that of equal purchases, at no higher mean loss. Shown by `benchmarks/slice_tuner.py`.
"""

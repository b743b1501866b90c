"""Federated learning: clients keep their samples and train apart, and a server averages their weights.

Papers: McMahan et al. (2017) for `fedavg`, Li et al. (2025) for `fedssi`. Claim: a run is the algorithm of the paper,
step by step, and equal on any number of workers. Shown by `tests/branches/federated/test_fedavg.py`; accuracies by
`benchmarks/federated.py`.
"""

"""Target propagation: feedback through a network, and the targets of its layers.

Paper: Ernoult et al., "Towards Scaling Difference Target Propagation by Learning Backprop Targets" (2022). Claim: the
angle between its updates and those of backpropagation falls. Shown by `tests/branches/target_propagation/test_dtp.py`.
"""

"""Target propagation: feedback through a network, and the targets of its layers."""

"""One training step, and what surrounds it: the Trainer of a phase, optimizers, heads, augmentations, FLOPs."""

"""Labels by a crowd: each sample is labelled by one of several members, some of whom err."""

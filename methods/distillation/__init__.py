"""Earlier networks as teachers, and outputs that are biased towards new classes."""

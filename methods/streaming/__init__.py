"""What methods share that learn without gradients, in one pass."""

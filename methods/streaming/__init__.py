"""Methods that learn without gradients, in one pass."""

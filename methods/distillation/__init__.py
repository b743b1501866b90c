"""Methods that learn from an earlier network, or correct outputs that favour new classes."""

"""Data sets: where they come from, and what every stream is cut from."""

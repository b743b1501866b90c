"""Data sets: their sources, and the class `Dataset` that every stream is cut from."""

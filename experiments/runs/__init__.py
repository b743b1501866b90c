"""Start, read and continue one run."""

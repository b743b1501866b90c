"""The reading of command lines and option files."""

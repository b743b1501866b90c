"""The command line: options, run directories, comparisons of many runs, and their tables."""

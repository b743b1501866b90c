"""What happens around a run when it is started from the command line: options, run directories, comparisons, tables."""

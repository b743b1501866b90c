"""Pictures of runs and of comparisons, drawn by matplotlib."""

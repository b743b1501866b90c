"""One run: the loop over phases, the run directory, checkpoints, workers, loggers and progress."""

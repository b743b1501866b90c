"""From a data set to a stream: its tasks, the order of their samples, and the mini-batches."""

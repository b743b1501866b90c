"""From a data set to a stream: which tasks there are, in which order their samples come, and in which batches."""

"""What methods share that keep samples of the stream."""

"""Rows in shared memory that outlive their worker, so that a worker that torchrun starts again finds them there."""

"""Rows in shared memory that outlive their worker. A worker that torchrun starts again finds them there."""

"""What buffers raise."""


class BufferInputError(ValueError):
    """Something that was handed to a buffer does not fit: an argument, samples, or a saved state.

    A `ValueError` of another kind is a fault of the program, not of its user.
    """


class StorageError(OSError):
    """The memory or the disk space that a buffer asks for cannot be had."""


class WorkerLostError(RuntimeError):
    """Another worker of a data-parallel run has ended, or does not answer any more."""

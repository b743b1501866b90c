"""What buffers raise beside `ValueError`."""


class StorageError(OSError):
    """The memory or the disk space that a buffer asks for cannot be had."""


class WorkerLostError(RuntimeError):
    """Another worker of a data-parallel run has ended, or does not answer any more."""

"""What a buffer raises beside `ValueError`."""


class StorageError(OSError):
    """The memory or the disk space that a buffer asks for cannot be had."""

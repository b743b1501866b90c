"""What a run costs in memory."""

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """The most memory this process has held so far: on the GPU if it uses one, else resident in the host's."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

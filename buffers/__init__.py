"""Rehearsal buffers: a bounded memory of past samples that a method replays beside new ones.

A buffer keeps rows; a row holds all leaves of one sample (`x`, `y`, `task_id`, logits, ...) in their storage dtype.

Reservoir
    `ReservoirBuffer`: every sample of the stream is equally likely to be kept.
"""

from redwood.buffers.reservoir import ReservoirBuffer

__all__ = ["ReservoirBuffer"]

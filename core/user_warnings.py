"""Warnings that name the line of the user that led to them, not a line of redwood."""

import sys
import warnings
from types import FrameType

# Packages whose lines tell a user nothing: redwood, and what calls it back.
_PACKAGES = frozenset(
    {
        "redwood",
        "pytorch_lightning",
        "lightning_fabric",
        "stable_baselines3",
        "gymnasium",
        "torch",
        "contextlib",
        "functools",
        "threading",
        "concurrent",
        "multiprocessing",
    }
)


def warn(text: str) -> None:
    """Give a `UserWarning` at the innermost line of the user; at the caller's if none is there, as in a thread."""
    caller = frame = sys._getframe(1)
    while not _is_users(frame):
        if frame.f_back is None:
            frame = caller
            break
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_users(frame: FrameType) -> bool:
    """True if a frame executes code of the user; the constructor of a dataclass is none that was written."""
    is_made = frame.f_code.co_filename == "<string>" and frame.f_code.co_name == "__init__"
    return not is_made and frame.f_globals.get("__name__", "").partition(".")[0] not in _PACKAGES

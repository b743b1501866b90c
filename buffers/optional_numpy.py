"""NumPy, or None where it is not installed: torch does without it, and so can this package."""

from typing import Any

np: Any
try:
    import numpy as np
except ImportError:
    np = None

__all__ = ["np"]

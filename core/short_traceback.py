"""Tracebacks for notebooks: the frames of the user's own code, and the message.

An error of a user passes dozens of frames of redwood, Lightning and torch, which would push the message out of sight.
"""

import linecache
import sys
import traceback
from pathlib import Path
from types import FrameType

# Packages whose frames are left out, beside the standard library.
OTHERS = frozenset(
    {"redwood", "torch", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "IPython", "ipykernel"}
)
WHOLE = "The whole traceback: import traceback; traceback.print_last()"


def short_traceback(error: BaseException) -> list[str]:
    """The lines that a notebook shows for an error, in the order of the calls; causes (`raise ... from`) included."""
    lines: list[str] = []
    one: BaseException | None = error
    while one is not None:
        lines += [_told(*place) for place in traceback.walk_tb(one.__traceback__) if _is_own(place[0].f_globals)]
        one = one.__cause__
    return [*lines, f"{type(error).__name__}: {error}", "", WHOLE]


def _is_own(names: dict[str, object]) -> bool:
    package = str(names.get("__name__", "")).partition(".")[0]
    return package not in OTHERS and package not in sys.stdlib_module_names


def _told(frame: FrameType, number: int) -> str:
    code = frame.f_code
    inside = "" if code.co_name == "<module>" else f", in {code.co_name}"
    source = linecache.getline(code.co_filename, number, frame.f_globals).strip()
    return f"{name_of_file(code.co_filename)}, line {number}{inside}\n    {source}"


def name_of_file(file: str) -> str:
    """The name of a file of code for a user: `Cell In[3]` for a cell; relative below the current folder."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    named = getattr(getattr(shell, "compile", None), "format_code_name", lambda file: None)(file)
    if named:
        return " ".join(named)
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file

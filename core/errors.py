"""The errors that users meet: each is one sentence with what came, what was wanted and the remedy."""

import difflib
from collections.abc import Iterable


class RedwoodError(ValueError):
    """Base of all errors that the command line reports in one sentence, with exit code 2."""


class InvalidOptionError(RedwoodError):
    """An option has a value that is out of range or contradicts the setting."""


class UnknownNameError(RedwoodError):
    """No setting, method, data set or network has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Say which `kind` of thing `name` was meant to be, and the nearest of the `known` names."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        names = f"Known: {', '.join(known)}." if known else "There is none at all."
        super().__init__(f"There is no {kind} named {name!r}.{hint} {names}")


class NotApplicableError(RedwoodError):
    """A method asks for promises that the setting does not make, or one of the two for targets of another kind."""


class DataError(RedwoodError):
    """A data set is missing, unreadable, or holds values that cannot be learned from."""


class NotTrainedError(RedwoodError):
    """A method cannot predict yet; raised by `predict` before the first `fit`, if at all."""


class InvalidPredictionError(RedwoodError):
    """A method has answered with something that cannot be scored."""


class HiddenError(RedwoodError):
    """A method asks for what its setting keeps from it."""


class PhaseOverError(RedwoodError):
    """A method asks for more of a phase than its passes, or for anything once it is over."""


def reason_of(error: BaseException) -> str:
    """The first line of what a library's error says, or its kind if it says nothing, for use within a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def is_raised_in(error: BaseException, *packages: str) -> bool:
    """Whether code of one of some packages has raised an error: what calls it, or it calls, is another's fault."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in packages


class BufferInputError(RedwoodError, ValueError):
    """Something that was handed to a buffer does not fit: an argument, samples, or a saved state.

    A `ValueError` of another kind is a fault of the program, not of its user.
    """


class StorageError(RedwoodError, OSError):
    """The memory or the disk space that a buffer asks for cannot be had."""


class WorkerLostError(RedwoodError, RuntimeError):
    """Another worker of a data-parallel run has ended, or does not answer any more."""

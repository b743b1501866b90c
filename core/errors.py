"""The errors for users. Each message is one sentence: the option or file, its value, and the remedy."""

import difflib
import errno
import traceback
from collections.abc import Iterable

from redwood.core.peer_words import answer, plain
from redwood.core.short_traceback import short_traceback

# Errors of the system: the disk, the user's share of it, or the size of a file is at its limit.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Similarity, as `difflib` counts it, from which a known name is suggested for an unknown one.
ALIKE = 0.75
SHORT = 3  # letters of words that are all alike; for these, a name is suggested only if one begins with the other


class RedwoodError(ValueError):
    """Base of the errors that the command line prints as one sentence, with exit code 2.

    A notebook shows the lines of your own code, and the sentence. The whole traceback is there, too:
    `import traceback; traceback.print_last()`.
    """

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows."""
        return short_traceback(self)


class InvalidOptionError(RedwoodError):
    """The value of an option is out of range or contradicts the setting."""


class PinnedOptionError(InvalidOptionError):
    """An option contradicts what a setting promises; under another setting it may have this value."""


class UnknownNameError(RedwoodError):
    """No setting, method, data set or network has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Name what another library calls so, or the nearest of the `known` names.

        Args:
            kind: The kind of object that was looked up.
            name: The unknown name.
            known: All names of the kind.
        """
        known = sorted(known)
        near = nearest(name, known)
        hint = f" Did you mean {near}?" if near else ""
        names = f"Known: {', '.join(known)}." if known else "There is none at all."
        super().__init__(answer(kind, name) or f"There is no {kind} named {name!r}.{hint} {names}")


class NotApplicableError(RedwoodError):
    """A method needs promises that the setting does not make, or targets of another kind."""


class DataError(RedwoodError):
    """A data set is missing or unreadable, or holds unusable values."""


class NotTrainedError(RedwoodError):
    """A method cannot predict before its first `fit`."""


class InvalidPredictionError(RedwoodError):
    """A method has answered with something that cannot be scored."""


class InvalidLossError(RedwoodError):
    """The loss of a method is nothing that a network can be trained by."""


class HiddenError(RedwoodError):
    """A method asks for something that its setting hides."""


class PhaseOverError(RedwoodError):
    """A method asks for more passes than a phase has, or uses a phase that is over."""


class BufferInputError(RedwoodError, ValueError):
    """An argument, samples or a saved state does not fit a buffer.

    Any other `ValueError` is a fault of the program, not of its user.
    """


class StorageError(RedwoodError, OSError):
    """There is not enough memory or disk space for a buffer or a file."""


class ElsewhereError(RedwoodError):
    """Another process works in the folder, has taken it over from this one, or has finished the work."""


class WorkerLostError(RedwoodError, RuntimeError):
    """Another worker of a data-parallel run has ended or no longer answers."""


class ClassWarning(UserWarning):
    """A warning about a class, given while the class is made.

    Attributes:
        cls: The class.
    """

    def __init__(self, text: str, cls: type) -> None:
        super().__init__(text)
        self.cls = cls


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled almost like `name`; None if none is. Capitals, `-` and `_` do not count."""
    written, names = plain(name), {plain(other): other for other in known}
    if len(written) <= SHORT:
        names = {other: own for other, own in names.items() if other.startswith(written) or written.startswith(other)}
    near = difflib.get_close_matches(written, names, n=1, cutoff=ALIKE)
    return names[near[0]] if near else None


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, for use within a sentence; the type of the error if it has no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".").replace(". ", "; ")


def lack_of_room(error: BaseException) -> str | None:
    """Return the sentence for an error about full memory or a full disk; None for another error."""
    if isinstance(error, OSError) and error.errno in FULL:
        what = error.filename or "What is printed, or a file,"
        return f"{what} cannot be written ({error.strerror}); make room there. A run goes on with resume."
    name = type(error).__name__
    if name in ("MemoryError", "OutOfMemoryError", "_ArrayMemoryError") or "can't allocate memory" in str(error):
        return f"Memory is full ({reason_of(error)}); use a smaller network, batch or buffer, or fewer processes."
    return None


def is_raised_in(error: BaseException, *packages: str) -> bool:
    """True if code of one of these packages raised the error itself, and no code that it called."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in packages


def told_of_exit(request: SystemExit) -> str:
    """The sentence for code of the user that ends the process, such as by `sys.exit(3)`."""
    where = traceback.extract_tb(request.__traceback__)[-1]
    return (
        f"The run was ended by SystemExit({request.code!r}) in {where.filename}, line {where.lineno}; raise another "
        "error there, or return."
    )

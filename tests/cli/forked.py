"""The command line in a copy of this process, which need not import the large libraries anew."""

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import process
from multiprocessing.util import _exit_function  # type: ignore[attr-defined]
from pathlib import Path

from redwood.cli import main


def start_forked(arguments: tuple[str, ...], log: Path, prepare: Callable[[], object]) -> int:
    """Start the command line in a session of its own; returns the number of the process that leads it.

    Args:
        arguments: Those of the command line.
        log: File that its output is added to.
        prepare: Called in the new process before the command line.
    """
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        try:
            os.setsid()
            vars(process)["_children"] = set()  # those of the copied process: this one cannot wait for them
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for descriptor in (1, 2):
                os.dup2(output, descriptor)
            sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", closefd=False) for descriptor in (1, 2))
            prepare()
            status = main(list(arguments))
        finally:
            _exit_function()  # as at the end of a process that is no copy: it removes temporary files
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # whatever happens: a copy that goes on would run the tests that come next

"""A process that does one job after the other. It imports nothing heavy before the environment is set."""

import faulthandler
import os
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from multiprocessing.connection import Connection
from pathlib import Path

from redwood.core.calls import shorten_warnings
from redwood.core.child_processes import end_with_parent
from redwood.core.fork_server import accept_signals
from redwood.engine.signals import Stopped, stop_signals


def serve(pipe: Connection, environment: Mapping[str, str]) -> None:
    """Run the jobs that come through the pipe, and send back the outcome of each, until the pipe is closed.

    The output of a job, a crash of the interpreter included, is appended to its log.

    The process leads its own process group. So Ctrl-C on the terminal reaches only its parent, which decides; and the
    process can be ended together with all processes that a job has started. Until then, interrupts are blocked. The
    process ends at once when its parent ends.

    Args:
        pipe: Brings each job, a function that runs it, and takes the outcome.
        environment: All variables of its environment. Libraries read some of them on import, such as the number of
            threads; these count only if the process's server has them, too.
    """
    os.setsid()
    job = None
    end_with_parent(group=True)
    os.environ.clear()
    os.environ.update(environment)
    shorten_warnings()
    faulthandler.enable()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a crash does not lose the lines before it
    try:
        accept_signals()
        with stop_signals():
            while True:
                job, run = pipe.recv()  # imports what runs need, under the environment set above
                print_to(job.log)
                pipe.send(run(job))
    except (EOFError, ConnectionError):
        return
    except KeyboardInterrupt:
        return
    except Stopped as stop:
        if job is not None:
            print("stopped", file=sys.stderr)
        os.kill(os.getpid(), stop.number)  # the default action: the parent sees which signal ended this process


def print_to(path: Path) -> None:
    """Append standard output and error, also of libraries and child processes, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)

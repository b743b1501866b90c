"""A process that does one job after the other. It imports nothing heavy before the environment is set."""

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

from redwood.runs.processes import end_with_parent
from redwood.runs.signals import Stopped, stop_signals

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def serve(pipe: Any, one_thread: bool) -> None:
    """Run the jobs that come through the pipe, and answer each with how it ended, until the pipe ends.

    What a job prints, a crash of the interpreter included, is appended to its log.

    The process leads a group of its own: an interrupt on the terminal reaches its parent alone, which decides, and
    whatever a job has started can be ended together with it. Until it leads one, interrupts are blocked. It ends at
    once when its parent does, whichever way.

    Args:
        pipe: A `multiprocessing.Pipe` that brings jobs and takes answers.
        one_thread: Whether libraries are to compute on one thread, as there are more processes like this one.
    """
    os.setsid()
    job = None
    end_with_parent(group=True)
    if one_thread:
        os.environ.update(dict.fromkeys(THREADS, "1"))
    faulthandler.enable()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a crash is not to lose the lines before
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        with stop_signals():
            while True:
                job = pipe.recv()
                _print_to(job.log)
                _import()
                from redwood.experiments.jobs import run_job

                pipe.send(run_job(job))
    except (EOFError, ConnectionError):
        return
    except KeyboardInterrupt:
        return
    except Stopped as stop:
        if job is not None:
            print("stopped", file=sys.stderr)
        os.kill(os.getpid(), stop.number)  # what it does by default: whoever waits for this process sees why it ended


def _import() -> None:
    """Load what every run needs before the clock of the first one starts."""
    import redwood.methods.training.module
    import redwood.runs.loggers  # noqa: F401


def _print_to(path: Path) -> None:
    """Have standard output and error, those of libraries and later processes included, appended to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)

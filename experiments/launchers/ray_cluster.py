"""Run each job as a task of Ray, on the machines of its cluster.

They all have to see the folder of the runs, or a place that keeps them, see `run_storage`.

A task whose machine is lost is run again elsewhere. Like every run it goes on from the checkpoints in its folder.
"""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from redwood.core.calls import command_line_words, from_command_line
from redwood.core.errors import RedwoodError
from redwood.core.extras import load_extra
from redwood.core.user_warnings import warn
from redwood.engine.folder_lock import LOCK_FILE
from redwood.engine.signals import stop_signals
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.launchers.jobs import Failure, Job, Outcome, run_job
from redwood.experiments.launchers.launcher import next_jobs
from redwood.experiments.launchers.run_storage import RunStorage
from redwood.experiments.launchers.worker import print_to

_ADDRESS, _STORAGE = "address", "storage"
_NUMBERS = ("num_cpus", "num_gpus", "memory")  # what `--ray` may set of a task
_POLL_S, _ANSWER_S = 1.0, 10.0


def parse_ray(given: Sequence[str]) -> dict[str, str | float]:
    """The options of `--ray key=value ...`: the address of the cluster, where runs are kept, and what each task needs.

    Raises:
        UsageError: If one is unknown, given twice, or no number.
    """
    options: dict[str, str | float] = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        known = (_ADDRESS, _STORAGE, *_NUMBERS)
        if key not in known:
            raise UsageError(f"--ray {entry}: {key!r} is unknown; choose from {', '.join(known)}.")
        if not equals or not value:
            raise UsageError(f"--ray {entry} has no value; write it as {key}=VALUE.")
        if key in options:
            raise UsageError(f"--ray {key} is given twice, as {options[key]} and as {value}; give it once.")
        try:
            options[key] = float(value) if key in _NUMBERS else value
        except ValueError:
            raise UsageError(f"--ray {entry}: {key} has to be a number.") from None
    return options


class RayCluster:
    """Tasks of Ray. They end with this process; `resume` goes on with what is left."""

    def __init__(self, options: Mapping[str, str | float], *, on_cpu: bool, at_once: int | None = None) -> None:
        """Connect to nothing yet.

        Args:
            options: See `parse_ray`. Without an address, that of `RAY_ADDRESS` counts, else Ray starts on this machine.
            on_cpu: Whether runs compute on the CPU. Else each worker of a run takes a GPU.
            at_once: Tasks at once; None leaves it to Ray.

        Raises:
            RedwoodError: If Ray is not installed.
        """
        self._ray = load_extra("ray", "ray", "--launcher ray")
        self._address = options.get(_ADDRESS)
        self._needs = {name: number for name, number in options.items() if name in _NUMBERS}
        self._url = str(options.get(_STORAGE, ""))
        self._storage: dict[Path, RunStorage | None] = {}  # by the folder around the runs
        self._looked_for = set[str]()  # what runs need, once it was looked for on the machines
        self._on_cpu, self._at_once = on_cpu, at_once
        self._task = self._ray.remote(_run_task)
        self._pending: dict[Any, Job] = {}  # by the reference of its task
        self._connects = not self._ray.is_initialized()  # else the user has, and goes on with the connection

    def __enter__(self) -> Self:
        if not self._connects:
            return self
        try:
            self._refuse_unreachable()
            self._ray.init(address=self._address, log_to_driver=False, logging_level="error")
        except (OSError, ValueError, RuntimeError) as error:
            raise RedwoodError(_not_connected(error)) from error
        return self

    def _refuse_unreachable(self) -> None:
        """Raise `OSError` if nobody answers at an address such as 10.0.0.1:6379; Ray would wait for minutes."""
        address = str(self._address or os.environ.get("RAY_ADDRESS", ""))
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "//" not in address:
            socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()

    def __exit__(self, *error: object) -> None:
        for task in self._pending:
            self._ray.cancel(task)  # raises KeyboardInterrupt in the run, which saves a checkpoint
        if self._pending:
            self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=60)
        if self._connects:
            self._ray.shutdown()

    def run(self, jobs: Iterable[Job | None], started: Callable[[Job], None]) -> Iterator[tuple[Job, Outcome]]:
        """Run all of them, see `Launcher.run`; Ray keeps those that wait for room."""
        source, exhausted, running = iter(jobs), False, set[Job]()
        while self._pending or not exhausted:
            if not exhausted:
                following, exhausted = next_jobs(source, self._room(known=isinstance(jobs, Sized)) - len(self._pending))
                for job in following:
                    self._pending[self._submitted(job)] = job
            if self._pending:
                done, waiting = self._ray.wait(list(self._pending), timeout=_POLL_S)
            else:
                done, waiting = [], []
                time.sleep(_POLL_S)
            begun = {around: place.started() for around, place in self._storage.items() if place is not None}
            for job in [self._pending[task] for task in waiting]:
                elsewhere = job.folder.name in begun.get(job.folder.parent, ())
                if job not in running and (elsewhere or (job.folder / LOCK_FILE).exists()):
                    running.add(job)
                    started(job)
            for task in done:
                job = self._pending.pop(task)
                yield job, self._outcome(job, task)

    def _room(self, known: bool) -> float:
        """Return how many tasks there may be; of jobs that are chosen late, no more than the cluster has room for."""
        if self._at_once is not None or known:
            return self._at_once or float("inf")
        kind = "CPU" if self._on_cpu else "GPU"
        return max(1, int(self._ray.cluster_resources().get(kind, 1)))

    def _submitted(self, job: Job) -> Any:
        """The reference of the job's task."""
        usual = {"num_cpus": job.width} if self._on_cpu else {"num_cpus": 1, "num_gpus": job.width}
        # Machines may be lost at any time, and a run of any number of lost ones goes on.
        options = {"max_retries": -1, "name": job.label, **usual, **self._needs}
        self._warn_of_lack(options)
        job.folder.parent.mkdir(parents=True, exist_ok=True)  # a machine that does not see it fails
        absolute = replace(job, folder=job.folder.resolve(), waits=True)
        here = (os.getcwd(), sys.path, command_line_words())
        return self._task.options(**options).remote(absolute, self._place(job), *here)

    def _warn_of_lack(self, needed: Mapping[str, Any]) -> None:
        """Warn if no machine has what a run needs. One may come: clusters that grow start it when a task waits."""
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        wanted = {name: needed[name] for name in _NUMBERS if needed.get(name)}
        asked = " ".join(f"{name}={number:g}" for name, number in wanted.items())
        if asked in self._looked_for:
            return
        self._looked_for.add(asked)
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(names[name], 0) >= number for name, number in wanted.items()) for node in nodes):
            warn(f"No machine of the cluster has --ray {asked}; runs wait until one comes.")

    def _place(self, job: Job) -> RunStorage | None:
        """Where the job's folder is kept; None if all machines see it."""
        around = job.folder.parent
        if around not in self._storage:
            place = RunStorage.of(around, self._url)
            if place is not None:
                place.check()
            self._storage[around] = place
        return self._storage[around]

    def _outcome(self, job: Job, task: Any) -> Outcome:
        try:
            outcome: Outcome = self._ray.get(task)
            place = self._place(job)
            if place is not None:
                place.fetch(job.folder)
        except self._ray.exceptions.RayError as error:
            failure = Failure(f"Its task of Ray has failed ({_first_line(error)}).", unforeseen=True)
            job.write_failure(failure)
            return failure
        return outcome


def _run_task(job: Job, storage: RunStorage | None, folder: str, path: list[str], words: str | None) -> Outcome:
    """Run the job on a machine of the cluster.

    Args:
        job: The run.
        storage: Where its folder is kept; None if this machine sees it.
        folder: The folder of the process that asks for it.
        path: Where that process finds modules.
        words: How its command line starts; None if the user works in Python.
    """
    if storage is None and not job.folder.parent.is_dir():  # the process that asks for the run has made it
        return Failure(
            f"The machine {socket.gethostname()} does not see the folder {job.folder.parent}; name one that all "
            "machines see by --run_dir, or a place to keep the runs by --ray storage=URL.",
            unforeseen=False,
        )
    if Path(folder).is_dir():
        os.chdir(folder)
    sys.path.extend(entry for entry in path if entry not in sys.path)
    try:
        told = nullcontext() if words is None else from_command_line(words)
        with told, nullcontext(job) if storage is None else storage.kept(job) as here:
            print_to(here.log)
            with stop_signals():
                return run_job(here)
    except RedwoodError as error:  # the place cannot be read or written
        return Failure(str(error), unforeseen=False)


def _not_connected(error: BaseException) -> str:
    """Why there is no connection to a cluster, and what to do."""
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if str(error).startswith("Version mismatch") and len(versions) == 2:
        there, here = (f"Ray {ray}, Python {python}" for ray, python in versions)
        return (
            f"--launcher ray: the cluster has other versions (there: {there}; here: {here}); install the same of "
            "Ray and Python on all machines."
        )
    return (
        f"--launcher ray finds no cluster ({_first_line(error)}); start one by `ray start`, or check --ray address=... "
        "and RAY_ADDRESS."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")

"""Processes that write to one library at once, and may be killed; and what has to be true of the library then."""

import random
import signal
import time
import warnings
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from torch import Tensor

from redwood.branches.modular.library import ModuleLibrary
from redwood.core.errors import RedwoodError
from tests.fork_server import start_context

MODULES_A_NETWORK = 3


def weights(number: int, entries: int = 2048) -> dict[str, Tensor]:
    """The tensors of a module, as its number says."""
    return {"weight": torch.randn(entries, generator=torch.Generator().manual_seed(number)), "count": torch.tensor(1)}


def add_networks(folder: Path, numbers: Iterable[int], added: Connection) -> None:
    """Add, update and announce networks; each shares a module with the one before it."""
    torch.set_num_threads(1)
    library = ModuleLibrary(folder)
    for number in numbers:
        modules = [
            library.add_module(weights(number + place), role="block", position=0, model="m")
            for place in range(MODULES_A_NETWORK)
        ]
        network = library.add_network(
            modules,
            model="m",
            inputs={"shape": [4], "dtype": "float32"},
            task={"name": str(number), "classes": [0, 1], "samples": 8},
        )
        library.update(network, notes=f"number {number}")
        added.send((number, network, modules))


def remove_again_and_again(folder: Path, key: str, until: float) -> None:
    """Remove a module whenever it is there."""
    library = ModuleLibrary(folder)
    while time.time() < until:
        try:
            library.remove(key)
        except RedwoodError as error:
            assert "holds no module" in str(error), error


def add_again_and_again(folder: Path, number: int, until: float) -> None:
    """Add the same module; it has to be there whole after each time, unless it was removed in between."""
    library = ModuleLibrary(folder)
    while time.time() < until:
        library.add_module(weights(number), role="block", position=0, model="m")


class Writers:
    """Processes that add networks, and what they said that they have added.

    Attributes:
        added: Key and modules of each network that was announced, by its number.
    """

    def __init__(self, folder: Path) -> None:
        """Name the library's folder."""
        self.folder = folder
        self.added: dict[int, tuple[str, list[str]]] = {}
        self._running: list[tuple[ForkServerProcess, Connection]] = []

    def start(self, numbers: Iterable[int]) -> None:
        """Start one more."""
        receiver, sender = start_context().Pipe(duplex=False)
        process = start_context().Process(target=add_networks, args=(self.folder, numbers, sender))
        process.start()
        sender.close()
        self._running.append((process, receiver))

    def kill_at_random(self, moment: random.Random, longest_s: float) -> None:
        """Kill all of them, at random moments after each has added something."""
        for _, receiver in self._running:
            receiver.poll(60)
        for process, receiver in self._running:
            end = time.monotonic() + moment.uniform(0, longest_s)
            while time.monotonic() < end:
                self._hear(receiver, end - time.monotonic())
            process.kill()
            self._end(process, receiver)
            assert process.exitcode == -signal.SIGKILL, process.exitcode
        self._running.clear()

    def join(self) -> None:
        """Wait until all of them have added all that they were to add."""
        for process, receiver in self._running:
            self._end(process, receiver)
            assert process.exitcode == 0, process.exitcode
        self._running.clear()

    def _end(self, process: ForkServerProcess, receiver: Connection) -> None:
        try:
            while True:
                self._hear(receiver, 60)
        except EOFError:
            process.join(60)

    def _hear(self, receiver: Connection, seconds: float) -> None:
        if receiver.poll(max(seconds, 0)):
            number, network, modules = receiver.recv()
            self.added[number] = (network, modules)


def problems(folder: Path, added: dict[int, tuple[str, list[str]]]) -> list[str]:
    """What is wrong with a library: entries that are listed twice or do not load, lost ones, and warnings."""
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        library = ModuleLibrary(folder)
        networks, modules = library.networks(), library.modules()
        for record in modules:
            try:
                library.load(record.key)
            except RedwoodError as error:
                found.append(str(error))
    listed = {record.key: record.notes for record in networks}
    there = {record.key for record in modules}
    found += [str(warning.message) for warning in caught]
    # These writers' tasks are numbers that name one content: one that comes twice is one network under two keys.
    tasks = [record.task["name"] for record in networks if added]
    if (len(listed), len(set(tasks)), len(there)) != (len(networks), len(tasks), len(modules)):
        found.append("an entry is listed twice")
    for number, (network, its_modules) in added.items():
        if listed.get(network) != f"number {number}" or not there.issuperset(its_modules):
            found.append(f"network {number} is lost")
    return found

"""The modules that answer for tasks; they never change once they are learned, and a library shares them."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict

from torch import nn

from redwood.branches.modular.chain import put_tensors
from redwood.branches.modular.modular_network import ModularNetwork
from redwood.branches.modular.sources import LibraryLink, Source, TaskPath
from redwood.core.state import State, Stateful


class PathStore(Stateful):
    """Keeps a path of modules for each phase, and shares them with later runs by a library.

    Attributes:
        link: The library.
        paths: The path of each phase that is over, as `TaskPath` describes it.
        places: The position of each frozen module in its network, and the number of that network's outputs.
    """

    def __init__(self, network: ModularNetwork, link: LibraryLink, build: Callable[[int], list[nn.Sequential]]) -> None:
        """Keep nothing yet.

        Args:
            network: Holds the modules.
            link: The library.
            build: Makes the modules of a new network with so many outputs.
        """
        self._network, self._build = network, build
        self.link = self.add_state("link", link)
        self.paths: list[State] = self.add_state("paths", [])
        self.places: dict[str, list[int]] = self.add_state("places", {})

    def sources(self) -> list[Source]:
        """The networks that were learned before, the oldest first."""
        own = [TaskPath(**path).as_source(phase) for phase, path in enumerate(self.paths)]
        return [*self.link.sources(), *own]

    def modules_of(self, source: Source) -> list[nn.Module]:
        """The modules of a source; those of a library are loaded, and not kept.

        Raises:
            RedwoodError: If the library has lost a module, or its file is damaged.
        """
        fresh: list[nn.Sequential] = []
        found: list[nn.Module] = []
        for position, name in enumerate(source.modules):
            if name in self._network.library:
                found.append(self._network.library[name])
                continue
            fresh = fresh or self._build(source.n_outputs)
            self.link.fill(name, fresh[position])
            found.append(fresh[position].eval())
        return found

    def fetch(self, names: set[str]) -> None:
        """Bring the named modules of the library into the network."""
        missing = names - set(self._network.library)
        for source in self.link.sources() if missing else ():
            if missing.intersection(source.modules):
                for position, module in enumerate(self.modules_of(source)):
                    if source.modules[position] in missing:
                        self.freeze(source.modules[position], module, position, source.n_outputs)

    def freeze(self, name: str, module: nn.Module, position: int, n_outputs: int) -> None:
        """Keep a module by its name, position in its network and number of that network's outputs."""
        self._network.freeze(name, module)
        self.places[name] = [position, n_outputs]

    def add(self, path: TaskPath, tail: Sequence[nn.Module]) -> None:
        """Keep the path of a phase that is over, and only the modules that some path needs.

        Args:
            path: The path.
            tail: Its last modules, which the phase has trained.
        """
        first = len(path.modules) - len(tail)
        for position, module in enumerate(tail, start=first):
            self.freeze(path.modules[position], module, position, len(path.labels))
        self.paths.append(asdict(path))
        used = {name for kept in self.paths for name in kept["modules"]}
        for name in set(self._network.library) - used:
            del self._network.library[name], self.places[name]

    def publish(self) -> None:
        """Add the networks of the phases that are over to the library."""
        for path in self.paths[len(self.link.networks) :]:
            self.link.add(TaskPath(**path), [self._network.library[name] for name in path["modules"]])

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all modules that are kept."""
        return sum(weights.numel() for module in self._network.library.values() for weights in module.parameters())

    def restore_modules(self, places: dict[str, list[int]], network: State) -> None:
        """Bring the frozen modules to those of a checkpoint; the rest of its state is loaded afterwards.

        Args:
            places: The places that the checkpoint holds.
            network: The state of the network that it holds.
        """
        new: dict[int, list[nn.Sequential]] = {}
        for name, (position, n_outputs) in places.items():
            if name not in self._network.library:
                new.setdefault(n_outputs, self._build(n_outputs) if n_outputs not in new else [])
                self.freeze(name, deepcopy(new[n_outputs][position]), position, n_outputs)
            prefix = f"library.{name}."
            tensors = {key.removeprefix(prefix): value for key, value in network.items() if key.startswith(prefix)}
            put_tensors(self._network.library[name], tensors, "The checkpoint")
        for name in set(self._network.library) - places.keys():
            del self._network.library[name]

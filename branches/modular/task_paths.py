"""The base of methods that answer for each task by a path of modules, which never change once they are learned."""

from abc import abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from redwood.branches.modular.chain import cut, keep_buffers, put_tensors, shapes_of
from redwood.branches.modular.modular_network import ModularNetwork
from redwood.branches.modular.sources import LibraryLink, Source, TaskPath
from redwood.branches.modular.task import PhaseClasses
from redwood.core.seeding import preserved_random_state, seed_everything
from redwood.core.state import State
from redwood.methods.architecture.network_per_phase import NOT_TRAINED, rows_by_phase
from redwood.methods.base import Composition
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.parts import GivenNetwork
from redwood.methods.training.layers import evaluating, set_dropout
from redwood.settings.scores.results import Results
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import TaskIncrementalSetting


@dataclass
class TaskPaths(LightningMethod):
    """Keep a path of modules for each phase, and share them with later runs by a library.

    A task is answered as it was when it was trained last. A subclass says how a phase is learned.

    Attributes:
        paths: The path of each phase that is over, as `TaskPath` describes it.
        phase_of: The phase that trained each task.
        classes: The classes of the phase that is being trained.
    """

    target = TaskIncrementalSetting
    requires = frozenset({"many_passes"})
    composition: ClassVar[Composition] = Composition.NEVER
    library: str = ""  # folder with modules of earlier runs; this run adds its own modules (default: none)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        self.model.refuse_more(self.reference(), "which builds the network of a task from modules of earlier ones")

    @override
    def configure(self, setting: SupervisedSetting) -> None:
        super().configure(setting)
        space = setting.observation_space
        inputs: dict[str, Any] = {"shape": list(space.shape), "dtype": str(space.dtype)}
        if not np.issubdtype(space.dtype, np.floating):  # the bounds of floats differ from run to run
            inputs["high"] = float(space.high.max())
        modules = cut(self.network)
        self.n_modules, shapes = len(modules), shapes_of(modules)
        self.module = self.make_module(ModularNetwork().to(self.device))
        self.link = self.add_state("link", LibraryLink(self.library, self.model_name(), inputs, shapes))
        self.paths: list[State] = self.add_state("paths", [])
        self.classes = PhaseClasses((), {})
        self.phase_of: dict[int, int] = self.add_state("phase_of", {})
        self.places: dict[str, list[int]] = self.add_state("places", {})  # of each frozen module: position and outputs

    @property
    def modular(self) -> ModularNetwork:
        """The network, with its type."""
        assert isinstance(self.network, ModularNetwork)
        return self.network

    def model_name(self) -> str:
        """The network as the library names it."""
        return str(self.model.text)

    # Sources: networks to start from.

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
            if name in self.modular.library:
                found.append(self.modular.library[name])
                continue
            fresh = fresh or self.new_modules(source.n_outputs)
            self.link.fill(name, fresh[position])
            found.append(fresh[position].eval())
        return found

    def new_modules(self, n_outputs: int) -> list[nn.Sequential]:
        """The modules of a new network, whose weights follow from the seed and the number of networks before."""
        with preserved_random_state():
            seed_everything(self.setting.seed, "modules", self.n_networks)
            given = isinstance(self.model, GivenNetwork)
            network = self.make_network() if given else self.model.build(self.setting.observation_space, n_outputs)
        set_dropout(network, self.dropout)
        keep_buffers(network)
        return cut(network.to(self.device))

    @property
    def n_networks(self) -> int:
        """Number of networks that were there before this phase, in the library and in this run.

        Seeds follow from it: tasks that are learned in a later run get the weights that they would get in one run.
        """
        return len(self.link.inherited) + self.phase_count

    def fits_head(self, source: Source, classes: PhaseClasses) -> bool:
        """True if a task may take over the head: it has as many outputs, and none for the classes of other tasks."""
        return not isinstance(self.model, GivenNetwork) and source.n_outputs == len(classes.labels)

    def fetch(self, names: set[str]) -> None:
        """Bring the named modules of the library into the network."""
        missing = names - set(self.modular.library)
        for source in self.link.sources() if missing else ():
            if missing.intersection(source.modules):
                for position, module in enumerate(self.modules_of(source)):
                    if source.modules[position] in missing:
                        self.freeze(source.modules[position], module, position, source.n_outputs)

    def freeze(self, name: str, module: nn.Module, position: int, n_outputs: int) -> None:
        """Keep a module by its name, position in its network and number of that network's outputs."""
        self.modular.freeze(name, module)
        self.places[name] = [position, n_outputs]

    # Answers.

    @override
    @torch.no_grad()
    def predict(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        """Scores (B, K) by the path of each sample's task; equal ones for tasks that were not met."""
        assert task_id is not None
        return self.logits(x.to(self.device), task_id.to(self.device))

    @override
    def logits(self, x: Tensor, task_id: Tensor | None) -> Tensor:
        assert task_id is not None
        scores = torch.zeros(len(x), self.n_outputs, device=x.device)
        with evaluating(self.modular.tails):
            for phase, rows in rows_by_phase(task_id, self.phase_of):
                if phase == NOT_TRAINED:
                    continue
                rows = rows.to(x.device)
                scores[rows] = self._answer(x[rows], phase).to(scores.dtype)
        return self.heads.mask(scores, task_id)

    def _answer(self, x: Tensor, phase: int) -> Tensor:
        """Scores (b, K) by the path of a phase; of the phase in training, by the candidate that learns best so far."""
        if phase == len(self.paths):
            return self.classes.spread(self.classes.pick(self.answer_in_training(x)), self.n_outputs)
        path = self.paths[phase]
        classes = PhaseClasses(tuple(path["labels"]), {})
        return classes.spread(classes.pick(self.modular.path(x, path["modules"])), self.n_outputs)

    @abstractmethod
    def answer_in_training(self, x: Tensor) -> Tensor:
        """The outputs (b, n) for samples of the phase that is being trained."""

    # The library and the checkpoint.

    def publish(self) -> None:
        """Add the networks of the phases that are over to the library."""
        for path in self.paths[len(self.link.networks) :]:
            self.link.add(TaskPath(**path), [self.modular.library[name] for name in path["modules"]])

    @override
    def costs(self) -> State:
        """As of any gradient method; all modules that are kept count as parameters."""
        kept = sum(weights.numel() for module in self.modular.library.values() for weights in module.parameters())
        costs = super().costs()
        return costs | {"parameters": costs["parameters"] + kept}

    @override
    def on_finish(self, results: Results) -> None:
        self.publish()
        super().on_finish(results)

    def restore_modules(self, state: State) -> None:
        """Bring the frozen modules to those of a checkpoint; the rest of its state is loaded afterwards."""
        new: dict[int, list[nn.Sequential]] = {}
        for name, (position, n_outputs) in state["places"].items():
            if name not in self.modular.library:
                new.setdefault(n_outputs, self.new_modules(n_outputs) if n_outputs not in new else [])
                self.freeze(name, deepcopy(new[n_outputs][position]), position, n_outputs)
            prefix = f"library.{name}."
            tensors = {
                key.removeprefix(prefix): value for key, value in state["network"].items() if key.startswith(prefix)
            }
            put_tensors(self.modular.library[name], tensors, "The checkpoint")
        for name in set(self.modular.library) - state["places"].keys():
            del self.modular.library[name]

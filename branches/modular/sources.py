"""The networks that a new task may start from: those of this run, and those of a library that outlives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redwood.branches.modular.chain import put_tensors, tensors_of
from redwood.branches.modular.library import ModuleLibrary, NetworkRecord
from redwood.core.state import Stateful
from redwood.core.user_warnings import warn
from redwood.core.workers import gather_objects, rank

# Side of the mean image in a network's statistics: similar inputs are found without running any network.
STATISTICS_SIDE = 8


@dataclass(frozen=True)
class Source:
    """A trained network that others may start from.

    Attributes:
        name: `phase 3` for this run's, or its key in the library.
        modules: Names of its modules, from the stem to the head.
        n_outputs: Number of its outputs.
        statistics: Mean and deviation of the inputs that it was trained on; see `statistics_of`.
    """

    name: str
    modules: tuple[str, ...]
    n_outputs: int
    statistics: Mapping[str, Sequence[float]]


def statistics_of(x: Tensor) -> dict[str, list[float]]:
    """Mean and standard deviation of samples (n, ...), scaled by the largest absolute value, pooled to few numbers."""
    values = x.float()
    values = values / max(float(values.abs().max()), 1e-12)
    if values.dim() == 4:
        side = min(STATISTICS_SIDE, *values.shape[2:])
        values = F.adaptive_avg_pool2d(values.mean(1), side)
    else:
        values = F.adaptive_avg_pool1d(values.flatten(1), min(STATISTICS_SIDE**2, values[0].numel()))
    values = values.flatten(1)
    return {"mean": values.mean(0).tolist(), "std": values.std(0, correction=0).tolist()}


def distance(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> float:
    """The Euclidean distance of two statistics; infinite if they are of different inputs."""
    a, b = (torch.tensor([*part.get("mean", ()), *part.get("std", ())]) for part in (first, second))
    return float((a - b).norm()) if a.shape == b.shape and len(a) else float("inf")


class LibraryLink(Stateful):
    """The networks that a run takes from a library, and those that it adds.

    A run sees the networks that were there when it began, and its own. So a resumed run chooses as before, whatever
    others have added. A network of its own is added after the checkpoint that follows its phase. So a resumed run
    never meets the network of the phase that it trains again.

    Attributes:
        inherited: Keys of the networks that were there when the run began.
        keys: The key in the library of each module of this run that was added, by its name here.
        networks: Keys of the networks of this run that were added.
    """

    def __init__(
        self, folder: str, model: str, inputs: Mapping[str, Any], shapes: Sequence[Mapping[str, list[int]]]
    ) -> None:
        """Open the library.

        Args:
            folder: Its folder; empty: nothing is inherited, and nothing outlives the run.
            model: Name of the network that this run cuts into modules.
            inputs: Shape and dtype of the samples of this run; of integers, the largest value too.
            shapes: See `shapes_of`; networks of other shapes are not used.

        Raises:
            RedwoodError: If the folder cannot be used.
        """
        # Its state is its identity: the folder may be moved, but another library would lead to other choices.
        opened = self.add_state("opened", ModuleLibrary(folder))
        self._library = opened if folder else None
        self._model, self._inputs, self._shapes = model, dict(inputs), list(shapes)
        self.inherited: list[str] = self.add_state("inherited", self._usable())
        self.keys: dict[str, str] = self.add_state("keys", {})
        self.networks: list[str] = self.add_state("networks", [])

    def _usable(self) -> list[str]:
        """Keys of the networks whose modules this run can rebuild; the first worker decides for all."""
        if self._library is None:
            return []
        records = self._library.networks()
        fitting = [record for record in records if self._fits(record)]
        if len(fitting) < len(records) and rank() == 0:
            warn(
                f"{len(records) - len(fitting)} of {len(records)} networks in the library are not used: they are of "
                f"another --model than {self._model}, of other shapes, or of other inputs than {self._inputs}."
            )
        return gather_objects([record.key for record in fitting if self._library.is_whole(record)])[0]

    def _fits(self, record: NetworkRecord) -> bool:
        assert self._library is not None
        if record.model != self._model or dict(record.inputs) != self._inputs:
            return False
        modules = [self._library.module(key) for key in record.modules]
        if len(modules) != len(self._shapes):
            return False
        for position, (own, module) in enumerate(zip(self._shapes, modules, strict=True)):
            for name, shape in own.items():
                # Of the last layer, the number of outputs does not count.
                other = list(module.shapes.get(name, ()))
                if other != shape and (position < len(modules) - 1 or other[1:] != shape):
                    return False
        return True

    def sources(self) -> list[Source]:
        """The inherited networks, the oldest first, as the first worker finds them; not those removed or damaged."""
        if self._library is None:
            return []
        records = {record.key: record for record in self._library.networks()}
        found = [records[key] for key in self.inherited if key in records and self._library.is_whole(records[key])]
        sources = [
            Source(record.key, tuple(record.modules), len(record.task["classes"]), record.statistics)
            for record in found
        ]
        return gather_objects(sources)[0]

    def fill(self, name: str, module: nn.Module) -> None:
        """Put the tensors of a module of the library into a new one of the same architecture."""
        assert self._library is not None
        put_tensors(module, self._library.load(name), f"The module {name} of the library")

    def add(self, path: "TaskPath", modules: Sequence[nn.Module]) -> None:
        """Add a network of this run and its modules; only the first worker writes.

        A module that was taken over is added, too: another process may have removed it. Else nothing changes.

        Args:
            path: Which modules it consists of, and where they come from.
            modules: The modules themselves, in order.
        """
        if self._library is None or rank() != 0:
            return
        keys = []
        for position, (name, parent, module) in enumerate(zip(path.modules, path.parents, modules, strict=True)):
            keys.append(
                self._library.add_module(
                    tensors_of(module),
                    role=role_of(position, len(modules)),
                    position=position,
                    model=self._model,
                    parent=None if parent is None else self.keys.get(parent, parent),
                    task=path.task,
                )
            )
            self.keys[name] = keys[-1]
        self.networks.append(
            self._library.add_network(
                keys,
                model=self._model,
                inputs=self._inputs,
                task={"name": path.task, "classes": list(path.labels), "samples": path.samples},
                parent=self._key_of(path.origin),
                reused=path.reused,
                statistics=path.statistics,
                validation=path.accuracy,
                cost=path.flops,
            )
        )

    def _key_of(self, origin: str | None) -> str | None:
        """The key of the network that another one was made from."""
        if origin is None or origin in self.inherited:
            return origin
        return self.networks[phase_of(origin)]


def role_of(position: int, n_modules: int) -> str:
    """Return the role of a module in its network."""
    if n_modules == 1:
        return "network"
    return "stem" if position == 0 else "head" if position == n_modules - 1 else "block"


@dataclass(frozen=True)
class TaskPath:
    """The network that answers for the tasks of one phase of this run.

    Attributes:
        modules: Names of its modules, from the stem to the head.
        labels: The labels of its outputs.
        origin: Name of the network that it was made from; None if it was trained from new weights.
        parents: For each module the one whose weights it started from; None if it started anew, or was taken over.
        reused: Number of modules, the first ones, that were taken over as they are.
        trial: Number of the hyper-parameters that it was trained with.
        accuracy: Accuracy on the held-out samples that chose it; None if there were none.
        task: Name of the task.
        samples: Number of training samples of all workers.
        statistics: See `statistics_of`.
        flops: FLOPs of all workers in the phase, by use.
    """

    modules: tuple[str, ...]
    labels: tuple[int, ...]
    origin: str | None
    parents: tuple[str | None, ...]
    reused: int
    trial: int
    accuracy: float | None
    task: str
    samples: int
    statistics: dict[str, list[float]]
    flops: dict[str, float]

    def as_source(self, phase: int) -> Source:
        """The same as a network to start from."""
        return Source(name_of(phase), self.modules, len(self.labels), self.statistics)


def name_of(phase: int) -> str:
    """Name of the network that a phase of this run has left."""
    return f"phase {phase}"


def phase_of(name: str) -> int:
    """The phase that left a network of this run."""
    return int(name.removeprefix("phase "))

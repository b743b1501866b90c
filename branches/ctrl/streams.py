"""The streams of CTrL, each of which probes one ability."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import override

from redwood.branches.ctrl.pools import ctrl_stream, find_pool
from redwood.core.errors import InvalidOptionError
from redwood.settings.assumptions import TaskIds
from redwood.settings.data.dataset import Dataset
from redwood.settings.data.views import View
from redwood.settings.streams.task_lists import OfSeveralDataSets
from redwood.settings.streams.tasks import STREAMS


@dataclass
class CtrlStream(OfSeveralDataSets):
    """A stream of CTrL, which probes one ability (Veniat et al., 2021)."""

    concepts: str = "digits"  # data of the tasks: digits, ctrl (CIFAR-10, MNIST, ...), or a YAML file

    @classmethod
    @override
    def why_unsuitable(cls, owner: Any) -> str | None:
        return "which tells no task ids at test" if owner.assumptions.task_ids < TaskIds.TEST else None

    @override
    def called(self, dataset: str) -> str:
        return f"{STREAMS.name_of(type(self))}:{Path(self.concepts).stem}"

    @override
    def check_dataset(self, dataset: object, usual: object) -> None:
        if dataset != usual:
            raise InvalidOptionError(
                f"--dataset {getattr(dataset, 'name', dataset)} contradicts --stream {STREAMS.name_of(type(self))}, "
                f"which is made of --concepts {self.concepts}; leave it out."
            )

    @override
    def usual_image_size(self, seed: int) -> int:
        return find_pool(self.concepts, seed).image_size

    @override
    def views(self, dataset: str, load: Callable[[str], Dataset], seed: int, nb_tasks: int | None) -> list[View]:
        pool, least = find_pool(self.concepts, seed), self.first_task + (nb_tasks or 0)
        return ctrl_stream(STREAMS.name_of(type(self)), pool, load, seed, least)


@dataclass
class SMinus(CtrlStream):
    """Direct transfer: the first task comes back, smaller."""


@dataclass
class SPlus(CtrlStream):
    """Update of knowledge: the first task comes back, larger."""


@dataclass
class SIn(CtrlStream):
    """Other inputs: the first task comes back, inverted."""


@dataclass
class SOut(CtrlStream):
    """Other outputs: the first task comes back with other labels."""


@dataclass
class SPl(CtrlStream):
    """Plasticity: a large task after unrelated ones."""


@dataclass
class SLong(CtrlStream):
    """Scale: a hundred tasks or more."""

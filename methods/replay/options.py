"""The options of methods that store samples, and the buffers that they ask for."""

import inspect
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    SHARED,
    TIERS,
    Policy,
    RehearsalBuffer,
    Sampler,
    check_policy,
    check_sampler,
)
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import BufferInputError, InvalidOptionError, UnknownNameError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.training.heads import predicts_label_sets, predicts_numbers
from redwood.settings.assumptions import TaskIds
from redwood.settings.supervised import SupervisedSetting

T = TypeVar("T")


@dataclass
class BufferOptions:
    """Size and place of a buffer. Under several workers each keeps an equal part of it."""

    tiers: ClassVar[tuple[str, ...]] = ("auto", *TIERS)

    buffer_size: int = 200  # samples that the buffer holds, over all workers
    buffer_bytes: int = 0  # instead of buffer_size: bytes that its rows take, over all workers (0: buffer_size counts)
    # Where it is: cuda, pinned, host, mmap, shared (with --async under torchrun), or auto (where the network is)
    buffer_tier: str = "auto"
    buffer_dir: str = ""  # folder for the files of mmap and shared (default: that of temporary files, /dev/shm)

    @property
    def kept_apart(self) -> int:
        """Samples of `buffer_size` that the method stores elsewhere than in its buffer, over all workers."""
        return 0

    def check_buffer_options(self) -> None:
        """Raise `InvalidOptionError` if an option is out of range."""
        check_range(self, "buffer_size", 1)
        check_range(self, "buffer_bytes", 0)
        check_choice(self, "buffer_tier", self.tiers)

    def check_place(self) -> None:
        """Raise `InvalidOptionError` if the buffer cannot lie where the options say."""
        if self.buffer_tier in ("cuda", "pinned") and not torch.cuda.is_available():
            raise InvalidOptionError(
                f"--buffer_tier {self.buffer_tier} needs a CUDA device, and there is none; choose host or mmap."
            )
        if self.buffer_dir and not (os.path.isdir(self.buffer_dir) and os.access(self.buffer_dir, os.W_OK)):
            raise InvalidOptionError(
                f"--buffer_dir {self.buffer_dir} is no folder that can be written to; make it, or choose another one."
            )

    def is_on_gpu(self, device: torch.device) -> bool:
        """Whether the buffer of a method whose network is on `device` lies there, and `device` is a GPU."""
        return device.type == "cuda" and self.buffer_tier in ("auto", "cuda")

    def own_share(self, world: int = 0) -> dict[str, int]:
        """The size of this worker's part of the buffer, as an argument of `RehearsalBuffer`.

        Args:
            world: Number of workers that share the buffer; 0: all that there are.

        Raises:
            InvalidOptionError: If the size is smaller than the number of workers.
        """
        option = "buffer_bytes" if self.buffer_bytes else "buffer_size"
        total: int = self.buffer_bytes or self.buffer_size - self.kept_apart
        world = world or world_size()
        if total < world:
            raise InvalidOptionError(f"--{option} {total} has to be at least --workers {world}.")
        share, rest = divmod(total, world)
        return {"n_bytes" if self.buffer_bytes else "capacity": share + (rank() < rest)}

    def make_buffer(
        self, purpose: str, seed: int, policy: Policy | str, sampler: Sampler | str = "uniform", **size: int
    ) -> RehearsalBuffer:
        """A buffer of this worker; `purpose` gives each buffer of a method random draws of its own."""
        return RehearsalBuffer(
            capacity=size.get("capacity"),
            n_bytes=size.get("n_bytes"),
            policy=policy,
            sampler=sampler,
            tier=self.buffer_tier,
            directory=self.buffer_dir or None,
            seed=derive_seed(seed, purpose, rank()),
        )


def async_option(*, default: bool) -> bool:
    """The field of the option `--async`, which is no name that Python allows."""
    option: bool = field(default=default, metadata={"alias": ["--async"]})
    return option


@dataclass
class ReplayOptions(BufferOptions):
    """Which samples a buffer keeps, which are drawn from it, and how many."""

    tiers: ClassVar[tuple[str, ...]] = ("auto", *TIERS, SHARED)

    # What is kept: reservoir, class_balanced, ring, greedy_balanced, per_class_random, partitioning, herding or
    # loss_aware; with arguments: per_class_random:candidates=7,quota=24 or partitioning:rho=0.5.
    buffer_policy: str = "reservoir"
    # What is drawn: uniform, class_balanced, task_balanced, old_tasks, mir or grasp; with arguments:
    # mir:candidates=100.
    buffer_sampler: str = "uniform"
    replay_ratio: float = 1.0  # samples drawn from the buffer for each incoming one
    asynchronous: bool = async_option(default=False)  # draw from all workers' buffers, one step ahead

    def check_replay_options(self) -> None:
        """Raise `InvalidOptionError` if an option is out of range, or does not go with another one."""
        self.check_buffer_options()
        check_range(self, "replay_ratio", 0)
        policy, sampler = self.make_policy(), self.make_sampler()
        if not self.asynchronous:
            if self.buffer_tier == SHARED:
                raise InvalidOptionError("--buffer_tier shared is for --async alone; add that, or choose host.")
            return
        if not self.replay_ratio:
            raise InvalidOptionError("--async has nothing to draw with --replay_ratio 0; raise it, or choose finetune.")
        if self.buffer_bytes:
            raise InvalidOptionError(
                "--async needs the number of samples stored; give --buffer_size, not --buffer_bytes."
            )
        option = "buffer_policy"
        try:
            check_policy(policy)
            option = "buffer_sampler"
            check_sampler(sampler)
        except BufferInputError as error:
            raise InvalidOptionError(f"--{option} {getattr(self, option)} does not go with --async: {error}") from error

    def make_policy(self) -> Policy:
        """A new policy, as the option says."""
        return make_component("buffer_policy", self.buffer_policy, POLICIES)

    def make_sampler(self) -> Sampler:
        """A new sampler, as the option says."""
        return make_component("buffer_sampler", self.buffer_sampler, SAMPLERS)


def make_component(option: str, text: str, known: Mapping[str, type[T]]) -> T:
    """Make a policy or a sampler from `name` or `name:argument=value,...`: `per_class_random:candidates=7`.

    Args:
        option: Name of the option, for messages.
        text: Its value.
        known: The classes that there are.

    Raises:
        RedwoodError: If there is no such name or argument, or the value is out of range.
    """
    name, _, given = text.partition(":")
    if name not in known:
        raise UnknownNameError(option, name, known)
    parameters = inspect.signature(known[name]).parameters
    arguments: dict[str, float | int] = {}
    for item in filter(None, given.split(",")):
        key, _, value = item.partition("=")
        if key not in parameters:
            takes = ", ".join(parameters) or "none"
            raise InvalidOptionError(f"--{option} {text}: {name} has no argument {key!r}; it takes {takes}.")
        try:
            arguments[key] = _finite(value) if parameters[key].annotation is float else int(value)
        except ValueError:
            raise InvalidOptionError(f"--{option} {text}: {key} has to be a number, got {value!r}.") from None
    try:
        return known[name](**arguments)
    except ValueError as error:
        raise InvalidOptionError(f"--{option} {text}: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def check_suits(buffer: RehearsalBuffer, setting: SupervisedSetting) -> None:
    """Raise `InvalidOptionError` if policy or sampler need labels or task ids that the setting does not give."""
    if predicts_numbers(setting.action_space):
        _refuse_classes(buffer, setting.dataset)
    if predicts_label_sets(setting.action_space):
        _refuse_one_label(buffer, setting.dataset)
    if "tasks" in buffer.needs and setting.assumptions.task_ids < TaskIds.TRAINING:
        raise InvalidOptionError(
            f"--buffer_sampler {_name(buffer.sampler, SAMPLERS)} needs task ids, which {type(setting).__name__} does "
            "not give; choose another one, such as uniform."
        )


def _refuse_one_label(buffer: RehearsalBuffer, dataset: object) -> None:
    for option, component, names, other in _components(buffer):
        takes_sets = isinstance(component, Policy) and component.takes_sets
        if "labels" in component.needs and not takes_sets:
            other = "partitioning" if isinstance(component, Policy) else other
            raise InvalidOptionError(
                f"--buffer_{option} {_name(component, names)} goes by the one class of a sample, but samples of "
                f"{dataset} have several labels; choose another one, such as {other}."
            )


def _components(buffer: RehearsalBuffer) -> Iterator[tuple[str, Policy | Sampler, Mapping[str, type], str]]:
    """Policy and sampler: the option, the component, its names, and one that goes by no label."""
    yield "policy", buffer.policy, POLICIES, "reservoir"
    yield "sampler", buffer.sampler, SAMPLERS, "uniform"


def _refuse_classes(buffer: RehearsalBuffer, dataset: object) -> None:
    for option, component, names, other in _components(buffer):
        if component.needs & {"labels", "rate"}:
            raise InvalidOptionError(
                f"--buffer_{option} {_name(component, names)} goes by classes, but the targets of {dataset} are "
                f"numbers; choose another one, such as {other}."
            )


def _name(component: object, known: Mapping[str, type]) -> str:
    kind = type(component)
    return next((key for key, known_kind in known.items() if known_kind is kind), kind.__name__)

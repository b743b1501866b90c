"""The options of methods that store samples, and the buffers that they ask for."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    SHARED,
    Policy,
    RehearsalBuffer,
    Sampler,
    check_policy,
    check_sampler,
)
from redwood.core.checks import check_range
from redwood.core.errors import BufferInputError, InvalidOptionError
from redwood.core.parts import Choice
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.replay.parts import BUFFER_POLICIES, BUFFER_SAMPLERS, BUFFER_TIERS, REPLAY_TIERS
from redwood.methods.training.heads import predicts_label_sets, predicts_numbers
from redwood.settings.assumptions import TaskIds
from redwood.settings.supervised import SupervisedSetting


@dataclass
class BufferOptions:
    """Size and place of a buffer. Under several workers each keeps an equal part of it."""

    buffer_size: int = 200  # samples that the buffer holds, over all workers
    buffer_bytes: int = 0  # size of the buffer in bytes, over all workers, in place of buffer_size (0: use buffer_size)
    buffer_tier: Choice = BUFFER_TIERS.chosen("auto")  # memory that holds the buffer

    @property
    def kept_apart(self) -> int:
        """Samples of `buffer_size` that the method stores elsewhere than in its buffer, over all workers."""
        return 0

    def check_buffer_options(self) -> None:
        """Raise `InvalidOptionError` if an option is out of range."""
        check_range(self, "buffer_size", 1)
        check_range(self, "buffer_bytes", 0)

    def check_place(self) -> None:
        """Raise `InvalidOptionError` if the buffer cannot lie where the options say."""
        if self.buffer_tier.on_cuda and not torch.cuda.is_available():
            raise InvalidOptionError(
                f"--buffer_tier {self.buffer_tier.key} needs a CUDA device, and there is none; choose host or mmap."
            )
        folder = self.buffer_tier.directory
        if folder is not None and not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
            raise InvalidOptionError(
                f"--buffer_dir {folder} is no folder that can be written to; make it, or choose another one."
            )

    def is_on_gpu(self, device: torch.device) -> bool:
        """True if the buffer lies on a GPU when the method's network is on `device`."""
        return device.type == "cuda" and self.buffer_tier.key in ("auto", "cuda")

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
            tier=self.buffer_tier.key,
            directory=self.buffer_tier.directory,
            seed=derive_seed(seed, purpose, rank()),
        )


def async_option(*, default: bool) -> bool:
    """The field of the option `--async`, which is no name that Python allows."""
    option: bool = field(default=default, metadata={"alias": ["--async"]})
    return option


@dataclass
class ReplayOptions(BufferOptions):
    """The options of replay: the samples that a buffer keeps, the samples drawn from it, and their number."""

    buffer_tier: Choice = REPLAY_TIERS.chosen("auto")  # memory that holds the buffer
    buffer_policy: Choice = BUFFER_POLICIES.chosen("reservoir")  # policy that chooses the samples to keep
    buffer_sampler: Choice = BUFFER_SAMPLERS.chosen("uniform")  # sampler that chooses the samples to draw
    replay_ratio: float = 1.0  # samples drawn from the buffer for each incoming sample
    asynchronous: bool = async_option(default=False)  # draw from the buffers of all workers, in the background

    def check_replay_options(self) -> None:
        """Raise `InvalidOptionError` if an option is out of range, or does not go with another one."""
        self.check_buffer_options()
        check_range(self, "replay_ratio", 0)
        if not self.asynchronous:
            if self.buffer_tier.key == SHARED:
                raise InvalidOptionError("--buffer_tier shared is for --async alone; add that, or choose host.")
            return
        if not self.replay_ratio:
            raise InvalidOptionError("--async has nothing to draw with --replay_ratio 0; raise it, or choose finetune.")
        if self.buffer_bytes:
            raise InvalidOptionError(
                "--async needs the number of samples stored; give --buffer_size, not --buffer_bytes."
            )
        for kind, part, check in (
            (BUFFER_POLICIES, self.buffer_policy, check_policy),
            (BUFFER_SAMPLERS, self.buffer_sampler, check_sampler),
        ):
            try:
                check(part.make())
            except BufferInputError as error:
                raise InvalidOptionError(
                    f"--{kind.option} {kind.text_of(part)} does not go with --async: {error}"
                ) from error


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

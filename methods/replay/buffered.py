"""What all methods have in common that keep samples of the stream."""

import inspect
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from redwood.buffers import POLICIES, SAMPLERS, TIERS, BufferInputError, Policy, RehearsalBuffer, Sampler, StorageError
from redwood.core.checks import check_choice, check_range
from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError
from redwood.core.seeding import derive_seed
from redwood.core.workers import rank, world_size
from redwood.methods.lightning import LightningMethod
from redwood.methods.networks.last_layer import CHUNK, features_of
from redwood.methods.training.heads import predicts_numbers
from redwood.settings.assumptions import TaskIds
from redwood.settings.base import Setting
from redwood.settings.batch import Batch

T = TypeVar("T")


def make_part(option: str, text: str, known: Mapping[str, type[T]]) -> T:
    """Make a part from `name` or `name:argument=value,...`, such as `per_class_random:candidates=7`.

    Args:
        option: Name of the option, for messages.
        text: Its value.
        known: The classes that there are.

    Raises:
        RedwoodError: If there is no such part or argument, or the value will not do.
    """
    name, _, given = text.partition(":")
    if name not in known:
        raise UnknownNameError(option, name, known)
    parameters = inspect.signature(known[name]).parameters
    arguments: dict[str, Any] = {}
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


@dataclass
class BufferedMethod(LightningMethod):
    """A method with `self.buffer`, which is saved with it and counted among its costs.

    Under several workers each keeps an equal part of the buffer, filled from its shard of the stream.
    """

    buffer_size: int = 200  # samples that the buffer holds, over all workers
    buffer_bytes: int = 0  # instead of buffer_size: bytes that its rows take, over all workers (0: buffer_size counts)
    buffer_tier: str = "auto"  # where it is: cuda, pinned, host, mmap, or auto (where the network is)
    buffer_dir: str = ""  # folder for the file of the tier mmap (default: the one for temporary files)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_range(self, "buffer_size", 1)
        check_range(self, "buffer_bytes", 0)
        check_choice(self, "buffer_tier", ("auto", *TIERS))

    def policy(self) -> Policy:
        """A new policy for the buffer; a subclass may return one of its own."""
        return POLICIES["reservoir"]()

    def sampler(self) -> Sampler:
        """A new sampler for the buffer; likewise."""
        return SAMPLERS["uniform"]()

    def configure(self, setting: Setting) -> None:
        """Build the network and an empty buffer."""
        super().configure(setting)
        self._check_place()
        option = "buffer_bytes" if self.buffer_bytes else "buffer_size"
        total = getattr(self, option)
        if total < world_size():
            raise InvalidOptionError(f"--{option} {total} has to be at least --workers {world_size()}.")
        share, rest = divmod(total, world_size())
        unit = "n_bytes" if self.buffer_bytes else "capacity"
        self.buffer = self.make_buffer("buffer", self.policy(), self.sampler(), **{unit: share + (rank() < rest)})
        if predicts_numbers(setting.action_space):
            self._refuse_classes()
        if "tasks" in self.buffer.needs and setting.assumptions.task_ids < TaskIds.TRAINING:
            kind = type(self.buffer.sampler)
            name = next((key for key, known in SAMPLERS.items() if known is kind), kind.__name__)
            raise InvalidOptionError(
                f"--buffer_sampler {name} needs task ids, which {type(setting).__name__} does not give; "
                "choose another one, such as uniform."
            )

    def _refuse_classes(self) -> None:
        """Parts that go by classes, or by the cross-entropy, have nothing to go by where numbers are predicted."""
        parts = (("policy", self.buffer.policy, POLICIES), ("sampler", self.buffer.sampler, SAMPLERS))
        for option, part, known in parts:
            if part.needs & {"labels", "rate"}:
                name = next((key for key, kind in known.items() if kind is type(part)), type(part).__name__)
                raise InvalidOptionError(
                    f"--buffer_{option} {name} goes by classes, but the targets of {self.setting.dataset} are "  # type: ignore[attr-defined]
                    f"numbers; choose another one, such as {'reservoir' if option == 'policy' else 'uniform'}."
                )

    def _check_place(self) -> None:
        """Find out before the run has begun what would end it at the first batch."""
        if self.buffer_tier in ("cuda", "pinned") and not torch.cuda.is_available():
            raise InvalidOptionError(
                f"--buffer_tier {self.buffer_tier} needs a CUDA device, and there is none; choose host or mmap."
            )
        if self.buffer_dir and not (os.path.isdir(self.buffer_dir) and os.access(self.buffer_dir, os.W_OK)):
            raise InvalidOptionError(
                f"--buffer_dir {self.buffer_dir} is no folder that can be written to; make it, or choose another one."
            )

    def make_buffer(
        self, purpose: str, policy: Policy | str, sampler: Sampler | str = "uniform", **size: int
    ) -> RehearsalBuffer:
        """A buffer of this worker; `purpose` tells the random draws of several ones apart."""
        return RehearsalBuffer(
            **size,
            policy=policy,
            sampler=sampler,
            tier=self.buffer_tier,
            directory=self.buffer_dir or None,
            seed=derive_seed(self.setting.seed, purpose, rank()),
        )

    def store(self, buffer: RehearsalBuffer, batch: Batch, extra: dict[str, Tensor], **told: Tensor) -> None:
        """Offer incoming samples to a buffer.

        Args:
            buffer: One that `make_buffer` made.
            batch: The samples, as the training step got them.
            extra: What else to store of each, by name.
            **told: What else to tell its policy: `losses`, `features`.
        """
        # What has been on the host all along need not be waited for.
        on_host = self.host_batch or batch
        on_gpu = self.device.type == "cuda" and self.buffer_tier in ("auto", "cuda")
        source = batch if on_gpu else on_host
        if on_host.task_id is not None:
            told["tasks"] = on_host.task_id
        self.offer(buffer, source.leaves() | extra, labels=on_host.y, **told)

    def offer(self, buffer: RehearsalBuffer, samples: dict[str, Tensor], **told: Tensor) -> None:
        """Offer samples to a buffer, by leaf; see `RehearsalBuffer.add` for what it may be told.

        Raises:
            RedwoodError: If they do not fit, or there is no room to store them.
        """
        try:
            buffer.add(samples, **told)
        except (StorageError, BufferInputError) as error:
            raise RedwoodError(str(error)) from error

    def features(self, x: Tensor) -> Tensor:
        """What the network makes of samples (n, ...) before its last layer: (n, d)."""
        return features_of(self.network, x)

    def stored_features(self, buffer: RehearsalBuffer) -> Tensor:
        """The features (len, d) of all samples in a buffer, which need not fit onto the network's device."""
        parts = torch.arange(len(buffer)).split(CHUNK)
        return torch.cat([self.features(buffer.read(part, device=self.device)["x"]) for part in parts])

    def state_dict(self) -> dict[str, Any]:
        """The network's state and the buffer."""
        return super().state_dict() | self.buffer_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with an earlier network and buffer."""
        super().load_state_dict(state)
        self.load_buffer_state(state)

    def buffer_state(self) -> dict[str, Any]:
        """The buffer's part of the state."""
        return {"buffer": self.buffer.state_dict()}

    def load_buffer_state(self, state: dict[str, Any]) -> None:
        """Go on with the buffer of a state."""
        self.load_buffer(self.buffer, state["buffer"])

    def load_buffer(self, buffer: RehearsalBuffer, state: dict[str, Any]) -> None:
        """Go on with an earlier buffer, on the network's device."""
        try:
            buffer.load_state_dict(state)
        except (StorageError, BufferInputError) as error:
            raise RedwoodError(str(error)) from error
        buffer.to(self.device)

    def costs(self) -> dict[str, Any]:
        """The costs of training, and the bytes of the buffer."""
        costs = super().costs()
        return costs | {"buffer_bytes": costs["buffer_bytes"] + self.buffer.nbytes}

"""Policy, sampler and tier of a buffer: parts of the methods that store samples."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, make_dataclass
from functools import cache
from typing import Any, ClassVar

from typing_extensions import override

from redwood.buffers import POLICIES, SAMPLERS, SHARED, Policy, Sampler
from redwood.core.errors import InvalidOptionError, reason_of
from redwood.core.parts import Kind, Part, options_from, reduced

# Arguments that a policy and a sampler may both have get names of their own.
_RENAMED = {"mir": {"candidates": "mir_candidates"}}
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "per_class_random": {
        "candidates": "samples of each batch that may replace others of their class",
        "quota": "samples that a class may have (default: an equal part of the buffer)",
    },
    "partitioning": {"rho": "power of a label's frequency that decides its share of the buffer"},
    "mir": {"candidates": "stored samples, drawn at random, of which those of the highest rise are replayed"},
}


@dataclass
class BufferComponent(Part):
    """The arguments of a policy or of a sampler of `redwood.buffers`."""

    maker: ClassVar[type]  # class of the policy or the sampler
    argument_names: ClassVar[Mapping[str, str]] = {}  # options that go by other names than the arguments

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        kind, _, base = next(entry for entry in _KINDS.values() if isinstance(self, entry[0].base))
        try:
            self._check_maker(base)
            self.make().options()
        except ValueError as error:
            raise InvalidOptionError(f"--{kind.option} {kind.text_of(self)}: {reason_of(error)}.") from error

    def _check_maker(self, base: type) -> None:
        """Raise `ValueError` if the maker is no complete class below `base`, or does not take the fields."""
        own, maker = type(self).__name__, getattr(self, "maker", None)
        if not (isinstance(maker, type) and issubclass(maker, base)):
            raise InvalidOptionError(
                f"{own} has no maker that is a {base.__name__}; write `maker: ClassVar[type] = ...` with your class."
            )
        if inspect.isabstract(maker):
            missing = " and ".join(sorted(vars(maker)["__abstractmethods__"]))
            raise InvalidOptionError(f"{maker.__name__} has no {missing}; define what is missing in the class.")
        try:
            inspect.signature(maker).bind(**self._arguments())
        except TypeError as error:
            raise InvalidOptionError(
                f"{maker.__name__} cannot take the fields of {own} ({error}); let these be its arguments."
            ) from error

    def _arguments(self) -> dict[str, object]:
        return {self.argument_names.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}

    def make(self) -> Any:
        """A new policy or sampler."""
        return self.maker(**self._arguments())


@dataclass
class PolicyPart(BufferComponent):
    """The policy of a buffer."""


@dataclass
class SamplerPart(BufferComponent):
    """The sampler of a buffer."""


BUFFER_POLICIES = Kind("buffer_policy", PolicyPart, "redwood.buffer_policies")
BUFFER_SAMPLERS = Kind("buffer_sampler", SamplerPart, "redwood.buffer_samplers")
# Of each option: the kind, redwood's own classes by name, and their base class.
_KINDS: Mapping[str, tuple[Kind, Mapping[str, type], type[Any]]] = {
    "buffer_policy": (BUFFER_POLICIES, POLICIES, Policy),
    "buffer_sampler": (BUFFER_SAMPLERS, SAMPLERS, Sampler),
}


@cache
def _part_of(option: str, name: str) -> type[BufferComponent]:
    kind, known, _ = _KINDS[option]
    maker: Any = known[name]
    renamed = _RENAMED.get(name, {})
    namespace = {
        "__module__": __name__,
        "__doc__": (maker.__doc__ or "").partition("\n")[0],
        "__reduce__": lambda part: reduced(
            part,
            _part_of(option, name),
            (_remade, (option, name, {f.name: getattr(part, f.name) for f in fields(part)})),
        ),
        "maker": maker,
        "argument_names": {new: old for old, new in renamed.items()},
    }
    return make_dataclass(
        maker.__name__, options_from(maker, (), renamed, _TEXTS.get(name, {})), bases=(kind.base,), namespace=namespace
    )


def _remade(option: str, name: str, arguments: dict[str, object]) -> BufferComponent:
    """For pickle, which finds no class that was made by `_part_of`."""
    return _part_of(option, name)(**arguments)


for _option, (_kind, _known, _) in _KINDS.items():
    for _name in _known:
        _kind.register(_name)(_part_of(_option, _name))


@dataclass
class Tier(Part):
    """The memory that holds a buffer."""

    key: ClassVar[str]  # as `redwood.buffers` calls it
    on_cuda: ClassVar[bool] = False  # whether it needs a CUDA device

    @property
    def directory(self) -> str | None:
        """The folder of its files; None: that of temporary files, or there are none."""
        return None


BUFFER_TIERS = Kind("buffer_tier", Tier, "redwood.buffer_tiers")
# Buffers that workers may share have one more.
REPLAY_TIERS = Kind("buffer_tier", Tier, "redwood.buffer_tiers")


def _register(part: type[Tier]) -> type[Tier]:
    return REPLAY_TIERS.register(part.key)(BUFFER_TIERS.register(part.key)(part))


@_register
@dataclass
class Auto(Tier):
    """On the device of the network."""

    key: ClassVar[str] = "auto"


@_register
@dataclass
class Cuda(Tier):
    """In the memory of the GPU."""

    key: ClassVar[str] = "cuda"
    on_cuda: ClassVar[bool] = True


@_register
@dataclass
class Pinned(Tier):
    """In page-locked memory of the host, from which a GPU copies without waiting."""

    key: ClassVar[str] = "pinned"
    on_cuda: ClassVar[bool] = True


@_register
@dataclass
class Host(Tier):
    """In the memory of the host."""

    key: ClassVar[str] = "host"


@_register
@dataclass
class MemoryMapped(Tier):
    """In files that are mapped into memory."""

    key: ClassVar[str] = "mmap"

    buffer_dir: str = ""  # folder for the files (default: that of temporary files, or /dev/shm if workers share them)

    @property
    @override
    def directory(self) -> str | None:
        return self.buffer_dir or None


@REPLAY_TIERS.register(SHARED)
@dataclass
class Shared(MemoryMapped):
    """In memory that the workers of a machine share; with --async under torchrun."""

    key: ClassVar[str] = SHARED

"""Parts: dataclasses with options of their own. A setting, a method or a run has one part of a kind, chosen by name.

A field that holds a part is declared by its kind: `stream: Choice = STREAMS.chosen("auto")`. From Python its value is a
name or a part, `stream="rotated"` or `stream=Rotated(angles=[0.0, 30.0])`; on the command line it is
`--stream rotated --angles 0 30`. A part that is not chosen has no options. A package adds a part by an entry point of
the kind's group, or by `register`.
"""

import copyreg
import inspect
import math
from abc import ABCMeta
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from itertools import product
from typing import Any, TypeAlias, TypeGuard, TypeVar, get_args
from weakref import WeakKeyDictionary

from redwood.core.checks import Options, check_types
from redwood.core.described import described
from redwood.core.errors import InvalidOptionError, PinnedOptionError, nearest
from redwood.core.peer_words import plain, same
from redwood.core.registry import known_names, look_up, names_code, reference_of

# A field that holds a part: a user gives a name, a description or a part; the made object has a part of its kind.
Choice: TypeAlias = Any
KIND = "kind of parts"  # in the metadata of a field
_PLAIN = (bool, float, int, str)
_P = TypeVar("_P", bound="type[Part]")


class Naming(ABCMeta):
    """Tells an unknown option of a class together with the option that may be meant."""

    def __call__(cls, *args: object, **options: object) -> Any:
        """Make the object.

        Raises:
            TypeError: If the class has no such options.
        """
        try:
            return super().__call__(*args, **options)
        except TypeError as error:
            known = [f.name for f in fields(cls) if f.init] if is_dataclass(cls) else []
            unknown = next((name for name in options if name not in known), "")
            if f"unexpected keyword argument {unknown!r}" not in str(error):
                raise
            ours = same("option", unknown)
            meant = ours if ours in known else nearest(unknown, known)
            hint = f"write {meant}" if meant else f"it has {', '.join(known)}"
            raise TypeError(f"{cls.__name__} has no option {unknown}; {hint}.") from None

    @property
    def __signature__(cls) -> inspect.Signature:
        """The options, for `help` and for completion: both would take `__call__` above for the signature."""
        found = inspect.signature(cls.__init__)  # type: ignore[misc]
        return found.replace(parameters=list(found.parameters.values())[1:])


class Sealing(Naming):
    """Seals an object after all `__post_init__` have filled in and checked its options."""

    def __call__(cls, *args: object, **options: object) -> Any:
        """Make the object, and seal it."""
        made = super().__call__(*args, **options)
        vars(made)["_is_sealed"] = True
        return made


class Sealed(metaclass=Sealing):
    """An object whose options are fixed once it is made."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute. Options can only be set while the object is made.

        Raises:
            InvalidOptionError: If an option is set later: something may follow from its old value already.
        """
        if "_is_sealed" in vars(self) and name in getattr(self, "__dataclass_fields__", ()):
            raise InvalidOptionError(
                f"{name} of {type(self).__name__} is fixed once it is made; "
                f"make another one by dataclasses.replace(..., {name}={described(value)})."
            )
        super().__setattr__(name, value)


@dataclass
class Part(Sealed):
    """The base of all parts. Its fields are its options, which have to have defaults."""

    def __post_init__(self) -> None:
        """Check the options; a subclass checks their ranges, too."""
        make_parts(self)
        check_types(self)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidOptionError(f"--{f.name} {value} has to be a finite number.")
            if isinstance(value, list):
                setattr(self, f.name, list(value))  # the caller's list may change later

    @property
    def text(self) -> str | None:
        """The text that chooses the part on the command line, if it is more than the name; else None."""
        return None

    @classmethod
    def why_unsuitable(cls, owner: type) -> str | None:
        """Why a setting of class `owner` cannot use the part, as the end of a clause; None if it can."""
        return None


class Kind:
    """The parts that one option chooses from.

    Attributes:
        option: The option, which is the name of the field, too.
        base: Base class of the parts.
        group: Entry points of this group name further parts.
    """

    def __init__(self, option: str, base: type[Part], group: str) -> None:
        self.option, self.base, self.group = option, base, group
        self._parts: dict[str, type[Part]] = {}

    def register(self, name: str) -> Callable[[_P], _P]:
        """Class decorator: a dataclass becomes the part `name`."""

        def add(part: _P) -> _P:
            self._parts[name] = part
            return part

        return add

    def names(self) -> list[str]:
        """Names of the parts, those of other packages last."""
        return [*known_names(self.option, dict.fromkeys(self._parts, ""), self.group)]

    def own_name(self, text: str) -> str:
        """The name of the part that a text means, such as `adam` for `Adam`; the text itself if it means none.

        Capitals, hyphens and underscores of a name do not count, and a word of another library may mean the same.
        """
        names = self.names()
        if text in names or names_code(text):
            return text
        alike = [name for name in names if plain(name) == plain(text)]
        return alike[0] if len(alike) == 1 else same(self.option, text) or text

    def find(self, text: str) -> type[Part]:
        """The class of the part that a text chooses.

        Raises:
            InvalidOptionError: If there is none.
            RedwoodError: If another package's part, or that of a user's file, cannot be loaded.
        """
        if text in self._parts:
            return self._parts[text]
        if text in self.names() or names_code(text):
            found = look_up(self.option, text, {}, self.group, self._is_part)
            if not self._is_part(found) or inspect.isabstract(found):
                raise InvalidOptionError(
                    f"--{self.option} {text} is no complete subclass of {self.base.__name__}; name one, or make it one."
                )
            assert isinstance(found, type)
            return found
        raise self.unknown(text)

    def unknown(self, text: str) -> InvalidOptionError:
        """The error for a text that chooses nothing."""
        near = nearest(text, self.names())
        hint = f"did you mean {near}? " if near else ""
        return InvalidOptionError(f"--{self.option} {text} is unknown; {hint}choose one of {', '.join(self.names())}.")

    def _is_part(self, value: object) -> bool:
        return isinstance(value, type) and issubclass(value, self.base)

    def make(self, value: object, usual: Part | None = None) -> Part:
        """The part that a value stands for: a part, a text that chooses one, or `{text: {option: value}}`.

        Args:
            value: The value.
            usual: The part that the field has otherwise. If `value` chooses it again, its options are kept.

        Raises:
            InvalidOptionError: If `value` is none of these.
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, type) and issubclass(value, self.base):
            raise InvalidOptionError(f"--{self.option} needs a part, and {value.__name__} is a class; pass an object.")
        if isinstance(value, str):
            return self.make_with(self.own_name(value), {}, usual)
        if is_described_part(value):
            ((text, options),) = value.items()
            return self.make_with(self.own_name(str(text)), options, usual)
        raise InvalidOptionError(
            f"--{self.option} has to be a name, {{name: {{option: value}}}} or an object of {self.base.__name__}, but "
            f"{described(value)} was given; {self._instead(value)}."
        )

    def _instead(self, value: object) -> str:
        """What to give instead of an object of another library: the part of its name, such as `adam` for `Adam`."""
        given = plain((value if isinstance(value, type) else type(value)).__name__)
        alike = [name for name in self.names() if plain(name) in given]
        return f"write {self.option}={max(alike, key=len)!r}" if alike else f"choose one of {', '.join(self.names())}"

    def make_with(self, text: str, options: Mapping[str, object], usual: Part | None = None) -> Part:
        """The part that a text chooses, with some options; see `make`, and `find` for the errors."""
        kept = usual if usual is not None and self.text_of(usual) == text else None
        part = self.find(text) if kept is None else type(kept)
        unknown = options.keys() - {*option_fields(part)}
        if unknown:
            raise InvalidOptionError(f"--{self.option} {text} has no option {min(unknown)}; leave it out.")
        return part(**self.told(text), **options) if kept is None else replace(kept, **options)

    def told(self, text: str) -> Mapping[str, object]:
        """Return the arguments that a part gets from the text that chose it; by default none.

        A kind whose names have no end passes on the text itself.
        """
        return {}

    def text_of(self, part: Part) -> str:
        """Return the text that chooses the part on the command line."""
        return part.text or self.name_of(type(part))

    def name_of(self, part: type[Part]) -> str:
        """The name of a class of parts, or the reference that loads it."""
        for name, known in self._parts.items():
            if part is known:
                return name
        return reference_of(part, known_names(self.option, {}, self.group))

    def chosen(self, default: str | Part) -> Choice:
        """A field that holds a part of this kind."""
        if isinstance(default, str):
            return field(default=default, metadata={KIND: self})
        return field(default_factory=lambda: default, metadata={KIND: self})

    def choices(self) -> dict[str, type[Part]]:
        """The parts by name; where names are without end, an example of each class."""
        return {name: self.find(name) for name in self.names()}

    def offered_under(self, owner: type) -> list[str]:
        """Names of the parts that `owner` can use."""
        return [name for name in self.names() if self.find(name).why_unsuitable(owner) is None]


def kinds_of(cls: type[Options]) -> dict[str, Kind]:
    """The fields of a class that hold parts; a subclass that gives such a field another default need not say so."""
    if cls not in _kinds_of:
        _kinds_of[cls] = _read_kinds(cls)
    return _kinds_of[cls]


_kinds_of: WeakKeyDictionary[type[Options], dict[str, Kind]] = WeakKeyDictionary()


def _read_kinds(cls: type[Options]) -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for name, base in product((f.name for f in fields(cls)), cls.__mro__):
        # A base without fields of its own, such as a mixin, has those of its bases: only own ones count.
        if name in inspect.get_annotations(base) and "__dataclass_fields__" in vars(base):
            own = vars(base)["__dataclass_fields__"][name].metadata
            if KIND in own:
                found.setdefault(name, own[KIND])
    return found


def usual_part(kind: Kind, cls: type[Options], name: str) -> Part:
    """The part that a field of a class has if none is given."""
    f = cls.__dataclass_fields__[name]
    return kind.make(f.default if f.default_factory is MISSING else f.default_factory())


def make_parts(owner: Options) -> None:
    """Replace names and descriptions by the parts that they stand for; for `__post_init__`."""
    for name, kind in kinds_of(type(owner)).items():
        value = getattr(owner, name)
        if not isinstance(value, kind.base):
            setattr(owner, name, kind.make(value, usual_part(kind, type(owner), name)))


def refuse_unused(owner: Options, unused: Mapping[str, str], whose: str) -> None:
    """Raise `InvalidOptionError` if an option that decides nothing, or contradicts its owner, is not at its default.

    Args:
        owner: The object with the options.
        unused: Names of such options, and why, after a comma: `which draws its batches itself`.
        whose: The name of the setting or method, for the sentence.
    """
    kinds = kinds_of(type(owner))
    for f in fields(owner):
        if f.name not in unused:
            continue
        value, kind = getattr(owner, f.name), kinds.get(f.name)
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if value != (default if kind is None else usual_part(kind, type(owner), f.name)):
            shown = " ".join(map(str, value)) if isinstance(value, list) else value
            shown = shown if kind is None else kind.text_of(value)
            raise InvalidOptionError(f"--{f.name} {shown} does not go with {whose}, {unused[f.name]}; leave it out.")


def check_suitable(owner: Options, setting: type) -> None:
    """Raise `PinnedOptionError` if a part of `owner` cannot be used under `setting`."""
    for name, kind in kinds_of(type(owner)).items():
        part = getattr(owner, name)
        reason = part.why_unsuitable(setting)
        if reason is not None:
            raise PinnedOptionError(
                f"--{name} {kind.text_of(part)} does not go with {setting.__name__}, {reason}; choose one of "
                f"{', '.join(kind.offered_under(setting))}."
            )
        check_suitable(part, setting)


def parts_of(owner: Options) -> Iterator[Part]:
    """All parts of an object, those inside of parts included."""
    for name in kinds_of(type(owner)):
        part = getattr(owner, name)
        yield part
        yield from parts_of(part)


def owners_of(option: str, cls: type[Options], setting: type) -> list[str]:
    """Return the choices that give a class an option under a setting: `--stream rotated` has `--angles`."""
    found = []
    for name, kind in kinds_of(cls).items():
        for choice, part in kind.choices().items():
            if part.why_unsuitable(setting) is not None:
                continue
            inside = [f"--{name} {choice} {inner}" for inner in owners_of(option, part, setting)]
            found += [f"--{name} {choice}"] if option in option_fields(part) else inside
    return found


def option_fields(cls: type[Options]) -> list[str]:
    """Names of the fields of a class that are options on the command line."""
    return [f.name for f in fields(cls) if f.init and f.metadata.get("cmd", True)]


def all_options(cls: type[Options], setting: type | None = None) -> set[str]:
    """Names of the options of a class, and of every part that it may choose, under a setting or anywhere."""
    found = set(option_fields(cls))
    for kind in kinds_of(cls).values():
        for part in kind.choices().values():
            if setting is None or part.why_unsuitable(setting) is None:
                found |= all_options(part, setting)
    return found


def describe_part(kind: Kind, part: Part, plain: Callable[[object], object]) -> object:
    """Return a part as plain data: its text, or {text: {option: value}}; `plain` makes values plain."""
    options = describe(part, plain)
    text = kind.text_of(part)
    return {text: options} if options else text


def describe(owner: Options, plain: Callable[[object], object]) -> dict[str, object]:
    """The options of an object as plain data, those of parts nested; `plain` makes other values plain."""
    kinds = kinds_of(type(owner))
    return {
        name: describe_part(kinds[name], getattr(owner, name), plain) if name in kinds else plain(getattr(owner, name))
        for name in option_fields(type(owner))
    }


def flat(described: Mapping[str, object], given: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the result of `describe` with the options of parts beside those of their owner, as on the command line.

    Args:
        described: The description.
        given: Options that are given elsewhere, as name -> text. They are left out here. A part is left out with its
            options, unless the text chooses the same part: then only its name is left out.

    Raises:
        InvalidOptionError: If an option stands beside a part and in it.
    """
    options: dict[str, object] = {}
    for name, value in described.items():
        own: dict[str, object] = {} if given is not None and name in given else {name: value}
        if is_described_part(value):
            ((text, its),) = value.items()
            if own or (given is not None and given[name] == text):
                own = {**({name: text} if own else {}), **flat(its, given)}
        twice = options.keys() & own.keys()
        if twice:
            raise InvalidOptionError(f"--{min(twice)} is set twice, as its part has it, too; set it once.")
        options |= own
    return options


def is_described_part(value: object) -> TypeGuard[Mapping[Any, Mapping[str, Any]]]:
    """True if a value of a description is a part with options: `{text: {option: value}}`."""
    return isinstance(value, Mapping) and len(value) == 1 and all(isinstance(its, Mapping) for its in value.values())


def options_from(
    function: Callable[..., object], left_out: Collection[str], names: Mapping[str, str], texts: Mapping[str, str]
) -> list[Any]:
    """Fields for `dataclasses.make_dataclass`, from the parameters of a library's function or class.

    Args:
        function: The function or class. Only parameters with a plain value as default become options.
        left_out: Names of further parameters to leave out.
        names: Other names for some parameters: options that can be there together need different ones.
        texts: Help of parameters by name.
    """
    made: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        kind = None if name in left_out else _plain_type(parameter)
        if kind is not None:
            default = float(parameter.default) if kind is float else parameter.default
            told = {"help": texts.get(name, f"{name} of {function.__name__}")}
            made.append((names.get(name, name), kind, field(default=default, metadata=told)))
    return made


def reduced(part: Part, made: type[Part], remade: tuple[object, ...]) -> tuple[object, ...]:
    """Return the value of `__reduce__` for a part whose class was made by a function: pickle does not find the class.

    Args:
        part: The part.
        made: The class.
        remade: The value for an object of `made` itself. Pickle finds a subclass in a file, and keeps its attributes.
    """
    return remade if type(part) is made else (copyreg.__newobj__, (type(part),), dict(vars(part)))  # type: ignore[attr-defined]


def _plain_type(parameter: inspect.Parameter) -> Any:
    """The type of an option, by a parameter's annotation and default; None if the default is no plain value."""
    default, allowed = parameter.default, {parameter.annotation, *get_args(parameter.annotation)}
    if isinstance(default, tuple):
        numbers = all(isinstance(part, int | float) for part in default)
        return tuple[(float,) * len(default)] if numbers else None  # type: ignore[misc]
    wanted = next((kind for kind in _PLAIN if kind in allowed), None)
    if default is None:
        return wanted and wanted | None
    return wanted if type(default) in _PLAIN else None

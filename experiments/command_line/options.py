"""The options of a pair: from the dataclasses of its setting, its method and the run, with their parts, to objects.

The names of the chosen parts are looked for first; then one parser has just the options of what is chosen. Types and
comments of fields are read by simple-parsing.
"""

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from simple_parsing.docstring import get_attribute_docstring
from simple_parsing.wrappers.dataclass_wrapper import DataclassWrapper
from simple_parsing.wrappers.field_wrapper import FieldWrapper
from typing_extensions import override

from redwood.core.errors import RedwoodError
from redwood.core.parts import Kind, all_options, check_suitable, kinds_of, option_fields, owners_of, usual_part
from redwood.core.peer_words import same
from redwood.engine.run import Run
from redwood.experiments.command_line import own_names
from redwood.experiments.command_line.arguments import (
    CommandParser,
    OneSentenceParser,
    UsageError,
    add_selection,
    given_texts,
    option_names,
    program,
    refuse_repeated,
    refuse_several,
    refuse_unknown,
)
from redwood.experiments.command_line.pairs import Pair, where_it_is
from redwood.methods.base import Method
from redwood.settings.base import Setting

# The options that most users of a pair set first.
_COMMON = frozenset(
    [
        *("setting", "method", "seeds", "config", "help"),
        *("dataset", "stream", "nb_tasks", "passes", "batch_size", "env", "steps_per_task", "seed"),
        *("model", "optimizer", "lr", "learning_rate", "buffer_size", "wandb", "run_dir"),
    ]
)


@dataclass
class Options:
    """The three objects that the options of a pair make."""

    setting: Setting
    method: Method
    run: Run


@dataclass(frozen=True)
class Chosen:
    """A class whose options are asked for: a root, or a part that an option of another class has chosen.

    Attributes:
        cls: The class.
        title: What the options are of: a class, or `--stream rotated`.
        parts: The parts that its own fields have chosen, by the fields' names.
        text: What chose a part; empty for a root.
        usual: An object whose options are the defaults; None: the class says them.
    """

    cls: type[Any]
    title: str
    parts: Mapping[str, "Chosen"]
    text: str = ""
    usual: Any = None

    def all(self) -> Iterator["Chosen"]:
        """This class, and those of all parts."""
        yield self
        for part in self.parts.values():
            yield from part.all()

    def make(self, values: Mapping[str, Any]) -> Any:
        """The object: options are as `values` say, or have their defaults."""
        return self.cls(**self._options(values))

    def _options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        kinds = kinds_of(self.cls)
        given = [name for name in option_fields(self.cls) if name in values and name not in kinds]
        # argparse makes lists of all that has several values
        own = {name: tuple(values[name]) if _fields(self.cls)[name].is_tuple else values[name] for name in given}
        return own | {
            name: kinds[name].make_with(part.text, part._options(values), part.usual)
            for name, part in self.parts.items()
        }


def choose(cls: type[Any], given: Mapping[str, Any], title: str = "", text: str = "", usual: Any = None) -> Chosen:
    """A class with the parts that are chosen for its fields; the usual ones, where none is chosen.

    Args:
        cls: The class.
        given: The given options, as text or as an object from Python; see `given_values`.
        title: What the options of the class are of.
        text: What chose the class, if it is a part.
        usual: An object of the class whose options are the defaults.

    Raises:
        RedwoodError: If a part is chosen that there is none of.
    """
    parts = {}
    for name, kind in kinds_of(cls).items():
        default = getattr(usual, name) if usual is not None else usual_part(kind, cls, name)
        chosen = given.get(name, kind.text_of(default))
        if isinstance(chosen, str):
            chosen = kind.own_name(chosen)
        else:
            default = kind.make(chosen)
            chosen = kind.text_of(default)
        keeps = chosen == kind.text_of(default)
        part = type(default) if keeps else kind.find(chosen)
        parts[name] = choose(part, given, f"--{name} {chosen}", chosen, default if keeps else None)
    return Chosen(cls, title or cls.__name__, parts, text, usual)


class _PairParser(OneSentenceParser):
    """The parser of a pair's options, of which many take one value where another program takes a list."""

    @override
    def error(self, message: str) -> NoReturn:
        found = re.match(r"argument (--\w+): invalid \w+ value: '[\[(]?([\d.eE+-]+(?:, ?[\d.eE+-]+)+)[\])]?'", message)
        if found is None:
            super().error(message)
        option, values = found[1], [value.strip() for value in found[2].split(",")]
        if self._option_string_actions[option].nargs is None:
            refuse_several(option, values)
        raise UsageError(f"{option} takes values with spaces between them; write {option} {' '.join(values)}.")


def make_parser(pair: Pair, arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of a pair's options, for the parts that some arguments choose.

    Raises:
        RedwoodError: If two of the classes have an option of the same name, one cannot be made without arguments, or a
            part is unknown.
    """
    return parser_and_roots(pair, arguments)[0]


def parser_and_roots(pair: Pair, arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, list[Chosen]]:
    """The parser of a pair's options, and setting, method and run with the parts that the arguments choose."""
    roots = _roots(pair, arguments)
    return _parser(pair, roots), roots


def _roots(pair: Pair, arguments: Sequence[str]) -> list[Chosen]:
    """Setting, method and run, with their chosen parts."""
    classes = (*pair.load(), Run)
    for cls in classes:
        _check_class(cls)
    given = given_values(pair, arguments)
    return [choose(cls, given) for cls in classes]


def given_values(pair: Pair, arguments: Sequence[str]) -> dict[str, Any]:
    """The first value of each option, as text, or as the object from Python that the text stands for."""
    return {name: pair.objects.get(text, text) for name, text in given_texts(arguments).items()}


def _parser(pair: Pair, roots: Sequence[Chosen]) -> argparse.ArgumentParser:
    parser = _PairParser(
        prog=program(),
        usage=f"%(prog)s {pair} [options]",
        add_help=False,
        allow_abbrev=False,
        description=f"Options of {pair}. Defaults are in brackets. "
        "Where an option takes a name, you can give your own class as FILE.py:Class.",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=30),
    )
    add_selection(parser)
    owner = {action.dest: "the command line" for action in parser._actions}
    for chosen in (chosen for root in roots for chosen in root.all()):
        names = sorted(option_fields(chosen.cls), key=lambda name: _depth(chosen.cls, name))
        first_line = (inspect.getdoc(chosen.cls) or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")
        group = parser.add_argument_group(f"{chosen.title}: {first_line}" if names else None)
        for name in names:
            before = owner.setdefault(name, chosen.title)
            if before != chosen.title:
                raise UsageError(f"{chosen.title} and {before} both have an option --{name}; rename the field.")
            wrapper = _fields(chosen.cls)[name]
            group.add_argument(*wrapper.option_strings, **_argument(chosen, wrapper, pair.load()[0]))
    return parser


def _depth(cls: type[Any], name: str) -> int:
    """Return the distance from a class to its farthest base that declares the option.

    Options are sorted by it, so that special options stand before common ones.
    """
    return max(depth for depth, base in enumerate(cls.__mro__) if name in inspect.get_annotations(base))


def _fields(cls: type[Any]) -> dict[str, FieldWrapper]:
    """The options of a class as simple-parsing reads them, from the source of the class; each class is read once."""
    if cls not in _read:
        _read[cls] = {wrapper.name: wrapper for wrapper in DataclassWrapper(cls, "options").fields}
    return _read[cls]


_read: WeakKeyDictionary[type[Any], dict[str, FieldWrapper]] = WeakKeyDictionary()


def _argument(chosen: Chosen, wrapper: FieldWrapper, setting: type) -> dict[str, Any]:
    """Return the arguments of `add_argument` for an option. It has no default there: the class sets the default."""
    made, kind = wrapper.arg_options, kinds_of(chosen.cls).get(wrapper.name)
    told = {"help": _help(chosen, wrapper.name, kind, setting), "dest": wrapper.name, "default": argparse.SUPPRESS}
    if "action" in made:  # of a switch, which has a second name: --quiet and --noquiet
        return told | {"action": made["action"], "_conflict_prefix": ""}
    if kind is not None:
        return told | {"metavar": "name"}
    metavar = made["type"].__name__ if made["type"] in (int, float, str) else "value"
    nargs = None if made.get("nargs") == "?" else made.get("nargs")
    return told | {"type": made["type"], "nargs": nargs, "metavar": metavar}


def _help(chosen: Chosen, name: str, kind: Kind | None, setting: type) -> str:
    """The comment of a field, what it may choose, and its default, for argparse; nothing where there is no choice."""
    f = chosen.cls.__dataclass_fields__[name]
    found = get_attribute_docstring(chosen.cls, name)
    text = f.metadata.get("help") or found.comment_inline or found.comment_above or found.docstring_below or ""
    text = " ".join(text.split())
    if chosen.usual is not None:
        default = getattr(chosen.usual, name)
    elif kind is not None:
        default = usual_part(kind, chosen.cls, name)
    elif f.default_factory is not MISSING:
        default = f.default_factory()
    else:
        default = None if f.default is MISSING else f.default
    if kind is not None:
        known, default = kind.offered_under(setting), kind.text_of(default)
        if len(known) < 2:
            return argparse.SUPPRESS
        text += f": {', '.join(known)}"
    if "(default" not in text and default not in (None, "", [], ()):
        text += f" [{default}]"
    return text.replace("%", "%%")


def parse_options(pair: Pair, arguments: Sequence[str]) -> Options:
    """Make setting, method and run from command-line arguments; those of other pairs are passed over.

    Raises:
        RedwoodError: If a value is out of range or contradicts the setting.
    """
    parser, roots = parser_and_roots(pair, arguments)
    parsed = vars(parser.parse_known_args(list(arguments))[0])
    values = {name: _with_objects(value, pair.objects) for name, value in parsed.items()} if pair.objects else parsed
    setting, method, run = (root.make(values) for root in roots)
    check_suitable(method, type(setting))
    return Options(setting, method, run)


def _with_objects(value: Any, objects: Mapping[str, Any]) -> Any:
    """A value with objects from Python in the place of the texts that stand for them."""
    if isinstance(value, list):
        found = [_with_objects(item, objects) for item in value]
        return list(found[0]) if len(found) == 1 and isinstance(found[0], list | tuple) else found
    return objects.get(value, value) if isinstance(value, str) else value


def check_arguments(pairs: list[Pair], arguments: list[str], beside: Sequence[str] = ()) -> None:
    """Raise `UsageError` for the arguments that no pair takes; parts may be chosen `beside` the arguments, too."""
    some = _with_all_classes(pairs)
    known = _known_options(some, [*beside, *arguments])
    whose = str(pairs[0]) if len(pairs) == 1 else "any of these pairs"
    refuse_unknown(arguments, known, whose, owners_under(some), partial(where_it_is, pairs))


def _with_all_classes(pairs: Sequence[Pair]) -> list[Pair]:
    """Some pairs that have all settings and methods, and so the options of all pairs."""
    by_setting, by_method = ({getattr(pair, part): pair for pair in pairs} for part in ("setting", "method"))
    return list(dict.fromkeys((*by_setting.values(), *by_method.values())))


def _known_options(pairs: Sequence[Pair], arguments: Sequence[str]) -> dict[str, argparse.Action]:
    """The options of pairs with the parts that some arguments choose, such as `--lr`."""
    actions = [action for pair in pairs for action in make_parser(pair, arguments)._actions]
    return {option: action for action in actions for option in action.option_strings}


def with_own_options(pairs: Sequence[Pair], arguments: list[str]) -> list[str]:
    """Replace options of other libraries by those of redwood that mean exactly the same; see `own_names`.

    Raises:
        UsageError: If an option is then given twice.
    """
    if not any(same("option", name) for name in option_names(arguments)):  # most often: parsers take time
        return arguments
    some = _with_all_classes(pairs)
    owners = owners_under(some)
    taken = [f"--{name}" for name in option_names(arguments) if owners(name)]
    own = own_names.with_own_options(arguments, [*_known_options(some, arguments), *taken])
    refuse_repeated(own)
    return own


def owners_under(pairs: Iterable[Pair]) -> Callable[[str], list[str]]:
    """Return a function that maps an option's name to the parts with this option, such as `--stream rotated`."""
    classes = dict.fromkeys((cls, pair.load()[0]) for pair in pairs for cls in (*pair.load(), Run))

    def owners(option: str) -> list[str]:
        return list(dict.fromkeys(owner for cls, setting in classes for owner in owners_of(option, cls, setting)))

    return owners


def parse_pairs(pairs: list[Pair], arguments: list[str]) -> list[Options | RedwoodError]:
    """The options of each pair, or why it cannot have them: a value may contradict one setting and suit the others.

    Raises:
        RedwoodError: If an argument belongs to no pair or has the wrong type, or if no pair can have its options.
    """
    check_arguments(pairs, arguments)
    parsed: list[Options | RedwoodError] = []
    for pair in pairs:
        try:
            parsed.append(parse_options(pair, arguments))
        except UsageError:
            raise
        except RedwoodError as error:
            parsed.append(error)
    if isinstance(parsed[0], RedwoodError) and not any(isinstance(options, Options) for options in parsed):
        raise parsed[0]
    return parsed


def pair_help(pair: Pair, arguments: Sequence[str] = (), *, everything: bool = True) -> str:
    """The help of a pair: what to run, and the options of setting, method, run and the chosen parts.

    Args:
        pair: The pair.
        arguments: Arguments that choose parts.
        everything: Whether all options are shown. Else these are: the most common ones; those that the classes of the
            setting and the method declare themselves; those of the parts that the arguments name.
    """
    parser, roots = parser_and_roots(pair, arguments)
    if not everything:
        named = {*given_texts(arguments)}.union(*map(inspect.get_annotations, pair.load()))
        parts = [
            part for root in roots for chosen in root.all() for name, part in chosen.parts.items() if name in named
        ]
        shown = _COMMON.union(named, *(option_fields(part.cls) for part in parts))
        left_out = [
            action for action in parser._actions if action.dest not in shown and action.help != argparse.SUPPRESS
        ]
        for action in left_out:
            action.help = argparse.SUPPRESS
        parser.epilog = f"{len(left_out)} more options: --help all"
    return parser.format_help()


def refuse_taken(pair: Pair, names: Collection[str], command: str) -> None:
    """Raise `UsageError` if a class of the pair has an option that `command` has, too."""
    for cls in pair.load():
        for name in sorted(all_options(cls).intersection(names)):
            raise UsageError(
                f"{cls.__name__} and {command} both have an option --{name}; rename the field of the class."
            )


def _check_class(cls: type[Any]) -> None:
    """Raise `UsageError` if a class cannot be made without arguments."""
    annotated = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
    forgotten = sorted(annotated - {f.name for f in fields(cls)})
    if forgotten and "__dataclass_fields__" not in vars(cls):
        raise UsageError(f"{cls.__name__} has the option {forgotten[0]} but is no dataclass; put @dataclass above it.")
    if inspect.isabstract(cls):
        missing = " and ".join(sorted(cls.__abstractmethods__))
        raise UsageError(f"{cls.__name__} has no {missing}; define what is missing in the class.")
    needed = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if needed:
        raise UsageError(f"{cls.__name__} gives {needed[0]} no default; write {needed[0]}: ... = ... in the class.")


def read_command(word: str, cls: type[Any], arguments: Sequence[str]) -> Any:
    """Make the object of a command that a branch adds: its dataclass has the options.

    Raises:
        UsageError: If the arguments are none of its options.
    """
    parser, made = CommandParser(word), Chosen(cls, word, {})
    for name in option_fields(cls):
        f, wrapper = cls.__dataclass_fields__[name], _fields(cls)[name]
        if f.default is MISSING and f.default_factory is MISSING:
            told = _argument(made, wrapper, cls)
            nargs: dict[str, Any] = {"nargs": "+"} if told.get("nargs") else {}
            parser.add_argument(name, metavar=name.upper(), type=told.get("type", str), help=told["help"], **nargs)
        else:
            parser.add_argument(*wrapper.option_strings, **_argument(made, wrapper, cls))
    return made.make(vars(parser.read(arguments)))

"""Read YAML of a user: plain values, of a bounded size, without keys that are set twice."""

from collections.abc import Hashable
from typing import Any

import yaml

from redwood.core.errors import RedwoodError

# The most values of a file whose aliases are written out. A few lines of aliases of aliases stand for 10^9 values.
MOST_REPEATED = 100_000


def read_yaml(text: str) -> Any:
    """Read YAML of plain values; the result is a tree that can be walked.

    Raises:
        RedwoodError: If a key is set twice; the message continues a sentence about the file.
        yaml.YAMLError: If it is no YAML, nested too deeply, or repeats itself without a bound.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RedwoodError):
            raise
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


class _PlainLoader(yaml.SafeLoader):
    has_aliases = False

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.has_aliases = True
        return super().compose_node(parent, index)

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and self.has_aliases:
            _check_size(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise RedwoodError(f"sets {key.value} twice; remove one of the lines.")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _check_size(node: yaml.Node) -> None:
    """Raise `yaml.YAMLError` if a node holds itself, or too many values once its aliases are written out."""
    sizes: dict[int, int | None] = {}  # None: being counted

    def size(one: yaml.Node) -> int:
        if isinstance(one, yaml.ScalarNode):
            return 1
        if id(one) not in sizes:
            sizes[id(one)] = None
            parts = one.value if isinstance(one, yaml.SequenceNode) else [part for pair in one.value for part in pair]
            sizes[id(one)] = 1 + sum(map(size, parts))
        known = sizes[id(one)]
        if known is None:
            raise yaml.YAMLError("an alias stands inside of what it repeats; write it out")
        return known

    if size(node) > MOST_REPEATED:
        raise yaml.YAMLError(f"aliases repeat its parts to more than {MOST_REPEATED:,} values; write them out")

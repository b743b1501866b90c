"""Values in messages: short ones as they are written, others by their type and shape."""

from collections.abc import Iterable

LONGEST = 80  # letters of a described value
MOST_ENTRIES = 20  # entries of a list, tuple or dict that are looked at


def described(value: object) -> str:
    """Describe a value that a user gave, in at most 80 letters.

    Args:
        value: Any value, such as that of an option.

    Returns:
        A short plain value as it is written, an array by type, shape and element type, a long list by its length, and
        any other object by its type.
    """
    shape = getattr(value, "shape", None)
    if isinstance(value, type):
        text = f"the class {value.__name__}"
    elif isinstance(shape, tuple) and shape:
        text = f"{type(value).__name__} {tuple(shape)} {getattr(value, 'dtype', '')}".rstrip()
    elif isinstance(value, list | tuple | dict):
        text = _of_entries(value)
    elif callable(value) and hasattr(value, "__name__"):
        text = f"the function {value.__name__}"
    else:
        text = repr(value)
        text = f"an object of {type(value).__name__}" if text.startswith("<") or "\n" in text else text
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def described_types(values: Iterable[object]) -> str:
    """Describe each value by its type, and its shape if it has one."""
    return ", ".join(described(one) if getattr(one, "shape", None) else type(one).__name__ for one in values)


def _of_entries(value: list[object] | tuple[object, ...] | dict[object, object]) -> str:
    """All entries if they are short, else the number of them."""
    if len(value) <= MOST_ENTRIES:
        if isinstance(value, dict):
            text = "{" + ", ".join(f"{key!r}: {described(one)}" for key, one in value.items()) + "}"
        else:
            inside = ", ".join(map(described, value))
            text = f"[{inside}]" if isinstance(value, list) else f"({inside}{',' * (len(value) == 1)})"
        if len(text) <= LONGEST:
            return text
    return f"a {type(value).__name__} of {len(value)}"

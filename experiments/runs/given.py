"""What files of a run cannot hold, given again from Python: classes such as `__main__:Mine`, and objects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redwood.core.errors import InvalidOptionError
from redwood.core.registry import class_in
from redwood.experiments.command_line.keywords import Named, name_of_class
from redwood.methods.base import Method
from redwood.settings.base import Setting


@dataclass(frozen=True)
class FromPython:
    """What was given again.

    Attributes:
        setting: A class, or several.
        method: A class, or several.
        objects: Values of options, by the texts that stand for them; see `Pair.objects`.
    """

    setting: Named | None = None
    method: Named | None = None
    objects: Mapping[str, Any] = field(default_factory=dict)

    def classes(self, names: Mapping[str, Iterable[str]], folder: Path) -> dict[str, type]:
        """The classes by the names that stand for them in a folder.

        Args:
            names: The names in the folder, by `setting` and `method`.
            folder: The folder, for messages.

        Raises:
            RedwoodError: If it is no such class, or no name is that of the class. The module does not matter.
        """
        found: dict[str, type] = {}
        for option, given, base in (("setting", self.setting, Setting), ("method", self.method, Method)):
            for cls in [] if given is None else [given] if isinstance(given, str | type) else given:
                if isinstance(cls, str):
                    raise InvalidOptionError(f"{option}={cls} is a name, which {folder} has itself; give a class.")
                name = name_of_class(cls, option, base)
                own = [known for known in names[option] if known == name or class_in(known) == cls.__name__]
                if not own:
                    known = ", ".join(dict.fromkeys(names[option]))
                    raise InvalidOptionError(
                        f"{option}={cls.__name__} is not in {folder}, which has {known}; give the class of that name."
                    )
                found |= dict.fromkeys(own, cls)
        return found


NOTHING = FromPython()

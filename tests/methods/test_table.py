import ast
from pathlib import Path

import pytest

import redwood.branches
import redwood.methods
from redwood.core.registry import load_object
from redwood.methods import AGENT_PARTS, METHODS, get_method
from redwood.settings import get_setting

ENTRIES = [*METHODS.values(), *AGENT_PARTS.values()]
FOLDERS = [Path(package.__file__).parent for package in (redwood.methods, redwood.branches)]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.reference)
def test_each_entry_says_what_its_class_says(entry):
    cls = load_object("method", entry.reference)
    assert f"{cls.__module__}:{cls.__qualname__}" == entry.reference
    assert get_setting(entry.target) is cls.target
    assert entry.requires == cls.requires
    assert entry.family in {path.stem for folder in FOLDERS for path in folder.iterdir()}


def test_summaries_are_one_line_that_a_table_can_hold():
    assert all(entry.summary and not set(entry.summary) & set("|\n") for entry in ENTRIES)
    assert len({entry.summary for entry in ENTRIES}) == len(ENTRIES)


def test_all_classes_can_be_imported_from_the_package():
    classes = map(get_method, METHODS)
    for cls in (cls for cls in classes if not cls.__module__.startswith("redwood.branches.")):
        assert getattr(redwood.methods, cls.__name__) is cls
        assert cls.__name__ in dir(redwood.methods)
    assert all(hasattr(redwood.methods, name) for name in redwood.methods.__all__)
    assert not hasattr(redwood.methods, "NoSuchMethod")


def test_type_checkers_see_the_same_classes():
    """What the block for type checkers imports is what `__getattr__` loads."""
    (block,) = [
        node
        for node in ast.parse(Path(redwood.methods.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    seen = {f"{line.module}:{name.name}" for line in block.body for name in line.names}
    loaded = {f"{found.__module__}:{found.__qualname__}" for found in map(_attribute, redwood.methods.__all__) if found}
    assert seen == loaded


def _attribute(name):
    found = getattr(redwood.methods, name)
    return None if isinstance(found, dict | str) or found is redwood.methods.method_names else found

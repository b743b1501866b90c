import ast
from pathlib import Path

import pytest

import redwood.branches
import redwood.methods
import redwood.settings
from redwood.core.registry import load_object
from redwood.methods import AGENT_PARTS, METHODS, get_method
from redwood.settings import SETTINGS, get_setting

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
    for package, classes in (
        (redwood.methods, map(get_method, METHODS)),
        (redwood.settings, map(get_setting, SETTINGS)),
    ):
        for cls in (cls for cls in classes if not cls.__module__.startswith("redwood.branches.")):
            assert getattr(package, cls.__name__) is cls
        assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", [redwood.methods, redwood.settings])
def test_type_checkers_see_the_same_classes(package):
    """What the block for type checkers imports is what `__getattr__` loads."""
    (block,) = [
        node
        for node in ast.parse(Path(package.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    seen = {name.name: f"{line.module}:{name.name}" for line in block.body for name in line.names}
    assert {name for name in package.__all__ if isinstance(getattr(package, name), type)} <= seen.keys()
    assert all(load_object("class", found) is getattr(package, name) for name, found in seen.items())

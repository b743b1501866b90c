import ast
from pathlib import Path

import redwood.settings
from redwood.core.registry import load_object
from redwood.settings import SETTINGS, get_setting


def test_all_classes_can_be_imported_from_the_package():
    for key in SETTINGS:
        cls = get_setting(key)
        assert getattr(redwood.settings, cls.__name__) is cls
        assert cls.__name__ in dir(redwood.settings)
    assert all(hasattr(redwood.settings, name) for name in redwood.settings.__all__)
    assert set(redwood.settings.__all__) <= set(dir(redwood.settings))
    assert not hasattr(redwood.settings, "NoSuchSetting")


def test_type_checkers_see_the_same_classes():
    """What the block for type checkers imports is what `__getattr__` loads."""
    (block,) = [
        node
        for node in ast.parse(Path(redwood.settings.__file__).read_text()).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    ]
    seen = {name.name: f"{line.module}:{name.name}" for line in block.body for name in line.names}
    assert {"SETTINGS", "ENTRY_POINTS", "setting_names"} | seen.keys() == set(redwood.settings.__all__)
    assert all(load_object("setting", found) is getattr(redwood.settings, name) for name, found in seen.items())

"""The tree as a whole: classes and assumptions agree, the tables are complete, importing them costs nothing."""

import dataclasses
import importlib
import inspect
import itertools
import pkgutil
import subprocess
import sys

import pytest

import redwood.branches
import redwood.methods
import redwood.settings
from redwood.engine.run import Run
from redwood.methods import METHODS, get_method
from redwood.methods.base import Method
from redwood.settings import SETTINGS, get_setting
from redwood.settings.assumptions import OF_THE_TRUNK, Assumptions, Context, Range, TaskIds
from redwood.settings.base import Setting, why_not_applicable
from redwood.settings.rl.setting import ReinforcementSetting
from redwood.settings.supervised import SupervisedSetting
from redwood.settings.tree import Distributed, Online

NODES = {key: get_setting(key) for key in SETTINGS} | {
    "supervised": SupervisedSetting,
    "online": Online,
    "distributed": Distributed,
    "reinforcement": ReinforcementSetting,
}

# Key: parents, and what it adds. The table of the design, row by row.
TREE = {
    "continual": (["supervised"], {}),
    "task_agnostic": (["continual"], {"context": Context.DISCRETE}),
    "osaka": (
        ["online", "task_agnostic"],
        {"workers": Range(1, 1), "recurring": True, "locally_stationary": True, "predict_first": True},
    ),
    "class_incremental": (["task_agnostic"], {"boundaries": True, "task_ids": TaskIds.TRAINING}),
    "domain_incremental": (["class_incremental"], {"shared_outputs": True}),
    "task_incremental": (["class_incremental"], {"task_ids": TaskIds.TEST}),
    "cumulative": (["class_incremental"], {"past_accessible": True}),
    "cumulative_task_incremental": (["task_incremental", "cumulative"], {}),
    "cumulative_domain_incremental": (["domain_incremental", "cumulative"], {}),
    "traditional": (["class_incremental"], {"context": Context.STATIONARY}),
    "multi_task": (["task_incremental", "traditional"], {}),
    "acquisition": (["traditional"], {"buys_data": True}),
    "online_class_incremental": (["online", "class_incremental"], {}),
    "online_domain_incremental": (["domain_incremental", "online_class_incremental"], {}),
    "online_task_incremental": (["task_incremental", "online_class_incremental"], {}),
    "online_traditional": (["traditional", "online_class_incremental"], {}),
    "label_budget": (
        ["online_class_incremental"],
        {"predict_first": True, "labels_on_request": True, "workers": Range(1, 1)},
    ),
    "distributed_class_incremental": (["distributed", "class_incremental"], {}),
    "distributed_domain_incremental": (["domain_incremental", "distributed_class_incremental"], {}),
    "distributed_task_incremental": (["task_incremental", "distributed_class_incremental"], {}),
    "distributed_traditional": (["traditional", "distributed_class_incremental"], {}),
    "distributed_online_class_incremental": (["distributed_class_incremental", "online_class_incremental"], {}),
    "federated_class_incremental": (["class_incremental"], {"clients": True}),
    "continual_rl": (["reinforcement"], {}),
    "task_agnostic_rl": (["continual_rl"], {"context": Context.DISCRETE}),
    "incremental_rl": (["task_agnostic_rl"], {"boundaries": True, "task_ids": TaskIds.TRAINING}),
    "task_incremental_rl": (["incremental_rl"], {"task_ids": TaskIds.TEST}),
    "traditional_rl": (["incremental_rl"], {"context": Context.STATIONARY}),
    "multi_task_rl": (["task_incremental_rl", "traditional_rl"], {}),
    "distributed_incremental_rl": (["distributed", "incremental_rl"], {}),
    "distributed_task_incremental_rl": (["task_incremental_rl", "distributed_incremental_rl"], {}),
    "distributed_traditional_rl": (["traditional_rl", "distributed_incremental_rl"], {}),
}
ADDED_ABOVE = {
    "supervised": {"labels": True},
    "reinforcement": {"rewards": True, "passes": Range(1, 1)},
    "online": {"passes": Range(1, 1)},
    "distributed": {"workers": Range(2)},
}


class TestNodes:
    def test_the_table_has_exactly_these_nodes(self):
        assert SETTINGS.keys() == TREE.keys()

    @pytest.mark.parametrize("key", TREE)
    def test_parents_and_what_is_added(self, key):
        parents, added = TREE[key]
        node = NODES[key]
        assert set(node.__bases__) == {NODES[parent] for parent in parents}
        inherited = Assumptions()
        own = vars(inspect.getmodule(node))
        for parent in parents:
            inherited |= NODES[parent].assumptions
        declared = {name: own[name] for name in added if name not in OF_THE_TRUNK}
        added = {name: value for name, value in added.items() if name in OF_THE_TRUNK}
        assert node.assumptions == dataclasses.replace(inherited | Assumptions(declared=declared), **added)

    @pytest.mark.parametrize("key", ADDED_ABOVE)
    def test_what_limb_and_mixins_add(self, key):
        assert NODES[key].assumptions == Assumptions(**ADDED_ABOVE[key])

    def test_order_of_classes_is_the_order_of_assumptions(self):
        for a, b in itertools.product(map(get_setting, SETTINGS), repeat=2):
            assert issubclass(a, b) == (b.assumptions <= a.assumptions), (a, b)

    def test_siblings_differ_in_their_assumptions(self):
        records = [get_setting(key).assumptions for key in SETTINGS]
        assert len(set(records)) == len(records)

    def test_assumptions_are_no_fields(self):
        for node in NODES.values():
            assert "assumptions" not in node.option_names()
            assert "assumptions" in vars(node)


def modules_below(package):
    names = [package.__name__] + [info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [importlib.import_module(name) for name in names]


def public_classes_below(package, base):
    found = set()
    for module in modules_below(package):
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, base) and not name.startswith("_"):
                found.add(value)
    return {cls for cls in found if cls.__module__.startswith(package.__name__)}


class TestTables:
    def test_every_setting_class_is_registered(self):
        scaffolding = {Setting, SupervisedSetting, ReinforcementSetting, Online, Distributed}
        found = public_classes_below(redwood.settings, Setting) | public_classes_below(redwood.branches, Setting)
        assert found - scaffolding == set(map(get_setting, SETTINGS))

    def test_every_method_class_is_registered(self):
        """Except base classes: abstract ones, and those that another class inherits."""
        found = public_classes_below(redwood.methods, Method) | public_classes_below(redwood.branches, Method)
        registered = set(map(get_method, METHODS))
        bases = {base for cls in found for base in cls.__mro__[1:]}
        assert registered <= found
        assert {cls for cls in found - registered - bases if not inspect.isabstract(cls)} == set()

    def test_registered_classes_are_concrete_and_documented(self):
        for cls in [*map(get_setting, SETTINGS), *map(get_method, METHODS)]:
            assert not inspect.isabstract(cls)
            assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "(")

    def test_keys_follow_from_class_names(self):
        for key in SETTINGS:
            assert get_setting(key).__name__.lower() == key.replace("_", "") + "setting"
        for key in METHODS:
            assert get_method(key).__name__.lower() == key.replace("_", "")

    def test_names_exported_by_the_packages_can_be_imported(self):
        for package in (redwood.settings, redwood.methods):
            for name in package.__all__:
                assert getattr(package, name) is not None
            with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
                _ = package.Nothing

    @pytest.mark.parametrize("package", ["redwood.settings", "redwood.methods"])
    def test_importing_a_table_imports_no_heavy_library(self, package):
        heavy = "{'torch', 'numpy', 'pytorch_lightning', 'gymnasium', 'sklearn', 'continuum', 'matplotlib', 'wandb'}"
        script = f"import sys, {package}; print(*sorted(sys.modules.keys() & {heavy}))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""


class TestOptionNames:
    def test_no_name_stands_for_two_options(self):
        def names(cls):
            return {f.name for f in dataclasses.fields(cls)}

        for setting, method in itertools.product(map(get_setting, SETTINGS), map(get_method, METHODS)):
            if why_not_applicable(setting, method) is not None:
                continue
            for a, b in itertools.combinations((Run, setting, method), 2):
                assert not names(a) & names(b), (a, b)
            assert not (names(setting) | names(method) | names(Run)) & {"setting", "method"}

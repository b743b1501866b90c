"""Imports stand at the top of their files; the exceptions are listed.

`docs/architecture.md` lists them, and CONTRIBUTING says which are allowed.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("branches", "buffers", "core", "experiments", "engine", "methods", "settings")

# Import statements inside functions, by file.
INSIDE_FUNCTIONS = {
    "cli.py": 1,
    "experiments/comparisons/compare.py": 3,
    "experiments/launchers/slurm.py": 1,
    "experiments/report/page.py": 1,
    "experiments/sweeps/summary.py": 1,
    "experiments/tree_view.py": 1,
    "settings/base.py": 1,
    "settings/data/continuum_adapter.py": 1,
    "settings/data/files.py": 1,
    "settings/data/holdout.py": 1,
    "settings/data/image_sets.py": 2,
    "settings/data/transforms.py": 1,
    "settings/rl/families.py": 2,
    "engine/launched.py": 1,
    "engine/lightning_loggers.py": 1,
    "engine/loggers.py": 1,
    "engine/loop.py": 1,
    "engine/notebook_bar.py": 1,
    "engine/significance.py": 1,
    "methods/agents/agent.py": 4,
    "methods/agents/off_policy.py": 2,
    "methods/agents/on_policy.py": 1,
    "methods/agents/options.py": 1,
    "methods/lightning.py": 2,
    "branches/acquisition/curves.py": 1,
    "branches/modular/editable_mixture.py": 1,
    "branches/modular/mixture.py": 1,
    "methods/networks/lora.py": 1,
    "methods/networks/timm_models.py": 1,
    "methods/networks/torchvision_models.py": 1,
    "methods/replay/shared_replay.py": 1,
}
# Files that import a module of redwood for type checkers alone. Those of the packages name what they load when it is
# used; others name the class that calls them, where a Protocol would restate a part of it. Libraries that are imported
# inside functions may be named in any file.
FOR_TYPE_CHECKERS = {
    "settings/streams/supervised_stream.py",
    "settings/streams/sharded_stream.py",
    "branches/label_budget/stream.py",
    "branches/federated/stream.py",
    "branches/acquisition/stream.py",
    "settings/__init__.py",
    "settings/scores/results_class.py",
    "experiments/__init__.py",
    "buffers/__init__.py",
    "methods/__init__.py",
    "methods/agents/agent.py",
    "methods/lightning.py",
    "methods/networks/row.py",
    "methods/networks/units.py",
    "methods/replay/rehearsal.py",
    "methods/replay/replay.py",
    "methods/replay/shared_replay.py",
    "methods/training/optimizers.py",
    "methods/training/step.py",
}


def files() -> Iterator[tuple[str, ast.Module]]:
    for path in [ROOT / "cli.py", *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))]:
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def count_inside_functions(tree: ast.Module) -> int:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    imports = [node for f in functions for node in ast.walk(f) if isinstance(node, ast.Import | ast.ImportFrom)]
    return len({node.lineno for node in imports})


def is_for_type_checkers(node: ast.AST) -> bool:
    if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
        return False
    return any(isinstance(one, ast.ImportFrom) and (one.module or "").startswith("redwood") for one in node.body)


def test_imports_inside_functions():
    counts = {name: count for name, tree in files() if (count := count_inside_functions(tree))}
    more = {name: count for name, count in counts.items() if count > INSIDE_FUNCTIONS.get(name, 0)}
    assert not more, "import at the top of the file; CONTRIBUTING says when not to"


def test_imports_for_type_checkers():
    found = {name for name, tree in files() if any(map(is_for_type_checkers, ast.walk(tree)))}
    assert found <= FOR_TYPE_CHECKERS, "move what both files need into a third, or pass it as an argument"


# What belongs to one branch: its name, and what it brought to others when it stood in the trunk.
OF_BRANCHES = (
    *("osaka", "pretraining", "acquisition", "slice_tuner", "purchase", "label_budget", "query_rule", "labels_used"),
    *("federated", "fedavg", "ctrl_", "uses_background", "background_like", "generative_rehearsal", "c_ada", "widen("),
    *("mntdp", "hard_moe"),
)


def test_the_trunk_names_no_branch():
    sources = {name: (ROOT / name).read_text().lower() for name, _ in files() if not name.startswith("branches")}
    named = {name: [word for word in OF_BRANCHES if word in text] for name, text in sources.items()}
    assert {name: words for name, words in named.items() if words} == {}

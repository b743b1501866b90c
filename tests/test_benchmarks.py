"""The benchmarks are not run here, but what they import from redwood exists, and the table names each of them."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_it_imports_from_redwood_exists(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in [alias.name for alias in node.names if alias.name.startswith("redwood.")]:
                importlib.import_module(name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "redwood":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.ImportFrom) and (FOLDER / f"{node.module}.py").exists():
            names = re.findall(
                r"^(?:def|class) (\w+)|^(\w+(?:, \w+)*)(?:: [^=\n]+)? \+?=", _text(node.module), re.MULTILINE
            )
            defined = {name for function, values in names for name in (function, *values.split(", "))}
            assert {alias.name for alias in node.names} <= defined


def test_the_table_names_each_script_that_can_be_run():
    named = set(re.findall(r"^\| `(\w+)\.py` \|", (FOLDER / "README.md").read_text(), re.MULTILINE))
    assert named == {path.stem for path in SCRIPTS if 'if __name__ == "__main__":' in path.read_text()}


def test_each_result_is_named_by_a_script_or_a_page():
    text = "".join(path.read_text() for path in [*SCRIPTS, FOLDER / "README.md"])
    for path in (FOLDER / "results").iterdir():
        assert re.sub(r"_\d+$", "", path.stem) in text


@pytest.mark.slow
def test_the_benchmark_for_gpus_runs_on_a_cpu(tmp_path):
    program = f"""
import sys
from pathlib import Path
import common
common.RESULTS = Path({str(tmp_path)!r})
import gpu
if __name__ == "__main__":
    gpu.main()
"""
    script = tmp_path / "run.py"
    script.write_text(program)
    paths = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), "--device", "cpu", "--quick"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    said = (tmp_path / "gpu_cpu.md").read_text()
    assert said.count("none.") == 4, said  # draws, rows and weights of resumed runs, and draws of two processes
    assert "a worker that is killed: over gloo, the other one ended with WorkerLostError" in said
    assert said.endswith("its times say nothing of a GPU.\n")


def _text(module):
    return (FOLDER / f"{module}.py").read_text()

"""The tutorials run, and the outputs that they are stored with belong to their code."""

import json
import re

import nbformat
import pytest
from docs.notebooks import execute, fingerprint, notebooks

NAMES = {"first_run", "own_method", "own_setting", "distributed", "reinforcement"}


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_are_tutorials():
    assert {path.stem for path in notebooks()} == NAMES


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
class TestStored:
    def test_outputs_belong_to_the_code(self, path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert notebook.metadata.code_sha256 == fingerprint(notebook), f"run: python -m docs.notebooks {path.stem}"
        counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
        assert counts == list(range(1, len(counts) + 1))
        assert outputs_of(notebook) and all(output.output_type != "error" for output in outputs_of(notebook))

    def test_outputs_name_no_machine(self, path):
        outputs = outputs_of(nbformat.read(path, as_version=4))
        for output in outputs:
            output["data"] = {kind: text for kind, text in output.get("data", {}).items() if "image" not in kind}
        texts = [re.sub(r"base64,[\w+/=]*", "", json.dumps(output)) for output in outputs]
        assert not re.search(r"(?<![\w.])/(?:\w+/)+|file:|localhost|0x[0-9a-f]{6}", "".join(texts))

    def test_it_is_small(self, path):
        assert path.stat().st_size < 250_000  # tables with pictures


@pytest.mark.slow
@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_it_runs(path):
    stored = nbformat.read(path, as_version=4)
    kinds = [(output.output_type, output.get("name")) for output in outputs_of(stored)]
    again = execute(stored)
    assert [(output.output_type, output.get("name")) for output in outputs_of(again)] == kinds

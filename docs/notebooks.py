"""The tutorials: notebooks that are executed in one go, stored with their outputs, and shown as pages.

Run `python -m docs.notebooks [NAME ...]` after a change of a tutorial, or of what it shows. It executes them without a
network, and writes them with their outputs. `tests/docs/test_notebooks.py` compares code and outputs.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

TUTORIALS = Path(__file__).resolve().parent / "tutorials"
PLAIN = {
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
LIMIT_S = 600


def fingerprint(notebook: NotebookNode) -> str:
    """A hash of the code of all cells; the outputs of a notebook belong to it."""
    code = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()


def execute(notebook: NotebookNode) -> NotebookNode:
    """The notebook with new outputs; it runs in an empty folder, and what names the machine is left out.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | PLAIN
        client = NotebookClient(
            notebook,
            timeout=LIMIT_S,
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,  # what arrives in one message or in two is a matter of time
        )
        client.execute(env=environment)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "code_sha256": fingerprint(notebook),
    }
    return notebook


def notebooks() -> list[Path]:
    """The files of all tutorials."""
    return sorted(TUTORIALS.glob("*.ipynb"))


def pages() -> dict[str, str | bytes]:
    """The tutorials as Markdown, with their pictures, by their paths inside the site."""
    found: dict[str, str | bytes] = {}
    for path in notebooks():
        text, resources = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
        found[f"tutorials/{path.stem}.md"] = text
        found |= {f"tutorials/{name}": picture for name, picture in resources["outputs"].items()}
    return found


def main() -> None:
    """Execute the notebooks that are named, or all."""
    for path in [TUTORIALS / f"{name}.ipynb" for name in sys.argv[1:]] or notebooks():
        nbformat.write(execute(nbformat.read(path, as_version=4)), path)
        print(path.name)


if __name__ == "__main__":
    main()

"""The command line, as a process of its own and in this one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLI = [sys.executable, str(ROOT / "cli.py")]
QUICK = ["--passes", "1", "--nb_tasks", "2", "--accelerator", "cpu"]
RUN_FILES = {
    "config.yaml",
    "results.json",
    "metrics.csv",
    "accuracy_matrix.png",
    "accuracy_curve.png",
    "checkpoints",
}


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process: one thread, plain output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("FORCE_COLOR", "WANDB_"))}
    return plain | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"} | changes


def start(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.Popen[str]:
    """Start `python cli.py ...`."""
    options = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*CLI, *arguments], cwd=cwd, text=True, **options)


def run(*arguments: str, cwd: Path = ROOT, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python cli.py ...`, or another command with these arguments, to its end."""
    return subprocess.run(
        [*(command or CLI), *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120
    )


def content(folder: Path) -> dict[str, bytes]:
    """What is in a folder, byte for byte."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_one_sentence(stderr: str) -> None:
    """Check that a user would see one line that starts with `error: `, and no traceback."""
    assert stderr.startswith("error: "), stderr
    assert stderr.count("\n") == 1 and stderr.endswith("\n"), stderr

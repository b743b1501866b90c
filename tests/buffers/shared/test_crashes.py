"""A worker that is killed at any moment, in the middle of a write too, leaves rows that go back to the last mark."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_every_moment(tmp_path):
    command = [sys.executable, "-m", "tests.buffers.shared.crashes", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30

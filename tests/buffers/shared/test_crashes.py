"""A worker that is killed at any moment, in the middle of a write too, leaves rows that go back to the last mark."""

import subprocess
import sys

from tests.buffers.shared import crashes


def test_every_moment(tmp_path):
    command = [sys.executable, crashes.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30

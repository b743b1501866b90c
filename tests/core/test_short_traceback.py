"""What a notebook shows for an error of a user: their own lines, and the sentence."""

import subprocess
import sys

import pytest

from redwood.core.errors import RedwoodError
from redwood.settings.tree import ClassIncrementalSetting

MISTAKE = """
from redwood.settings import ClassIncrementalSetting
def mine():
    ClassIncrementalSetting(nb_tasks=0)
mine()
"""


def test_it_shows_own_frames_and_the_sentence_alone():
    with pytest.raises(RedwoodError) as raised:
        ClassIncrementalSetting(nb_tasks=0)
    place, message, *rest = raised.value._render_traceback_()
    assert place.endswith("in test_it_shows_own_frames_and_the_sentence_alone\n    ClassIncrementalSetting(nb_tasks=0)")
    assert "tests/core/test_short_traceback.py, line " in place
    assert message == f"InvalidOptionError: {raised.value}"
    assert "traceback.print_last()" in rest[-1]


def test_it_shows_the_frames_of_the_cause():
    with pytest.raises(RedwoodError) as raised:
        try:
            int("seven")
        except ValueError as error:
            raise RedwoodError("No number.") from error
    shown = raised.value._render_traceback_()
    assert [place.partition("\n")[2].strip() for place in shown[:2]] == [
        'raise RedwoodError("No number.") from error',
        'int("seven")',
    ]


def test_ipython_shows_it_and_python_the_whole():
    pytest.importorskip("IPython")
    command = [sys.executable, "-m", "IPython", "--quiet", "--HistoryManager.enabled=False", "-c", MISTAKE]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert shown.startswith("Cell In[1], line 4\n    mine()\nCell In[1], line 3, in mine\n"), shown
    assert "redwood/settings" not in shown
    plain = subprocess.run([sys.executable, "-c", MISTAKE], capture_output=True, text=True, timeout=120).stderr
    assert "redwood/settings" in plain

import pytest

from redwood.engine import notebook_bar, progress
from redwood.engine.notebook_bar import NotebookBar
from redwood.engine.progress import NotebookReporter, make_reporter


@pytest.fixture
def shown(monkeypatch):
    """What a notebook is told to show, in order."""
    told = []
    display = "IPython.core.display_functions.DisplayHandle"
    monkeypatch.setattr(f"{display}.display", lambda self, content, raw: told.append(("new", content)))
    monkeypatch.setattr(f"{display}.update", lambda self, content, raw: told.append(("changed", content)))
    return told


def test_one_bar_is_changed_and_names_are_escaped(shown):
    bar = NotebookBar()
    bar.show(1, 3, "<one>", at_once=True)
    bar.show(2, 3, "two", at_once=True)
    assert [how for how, _ in shown] == ["new", "changed"]
    assert 'value="1" max="3"' in shown[0][1]["text/html"] and "&lt;one&gt;" in shown[0][1]["text/html"]
    assert shown[1][1]["text/plain"] == "two"


def test_it_changes_now_and_then_alone(shown, monkeypatch):
    now = iter([0.0, 0.05, 0.2])
    monkeypatch.setattr(notebook_bar.time, "monotonic", lambda: next(now))
    bar = NotebookBar()
    for step in range(3):
        bar.show(step, 3, str(step))
    assert [content["text/plain"] for _, content in shown] == ["0", "2"]


def test_a_run_in_a_notebook(shown, monkeypatch):
    class Notebook:
        is_jupyter, is_terminal = True, False

    monkeypatch.setattr(progress, "Terminal", Notebook)
    reporter = make_reporter(quiet=False, num_phases=2)
    assert type(reporter) is NotebookReporter
    with reporter:
        reporter.phase_started(0, steps=4)
        reporter.step(2)
        reporter.phase_finished(0, 0.5)
        last = shown[-1][1]
    first = shown[0][1]
    assert first["text/plain"] == "phase 1/2" and 'value="0"' in first["text/html"]
    assert 'value="1" max="2"' in last["text/html"] and "accuracy on the tasks so far 50.0 %" in last["text/plain"]
    assert shown[-1] == ("changed", {"text/html": "", "text/plain": ""}), "the bar of a run that has ended goes"


def test_nothing_is_cleared_before_the_first_step(shown):
    NotebookBar().clear()
    assert shown == []

import io

import pytest
from rich.console import Console

from redwood.engine import progress
from redwood.engine.progress import BarReporter, LineReporter, Reporter, make_reporter


@pytest.fixture
def terminal(monkeypatch):
    """Whatever is printed by rich goes to this terminal."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("rich._console", console)
    monkeypatch.setattr(progress, "Terminal", lambda: console)
    return file


class TestChoice:
    def test_lines_where_nobody_looks(self, capsys):
        assert type(make_reporter(quiet=False, num_phases=2)) is LineReporter

    def test_a_bar_on_a_terminal(self, terminal):
        assert type(make_reporter(quiet=False, num_phases=2)) is BarReporter

    def test_nothing_if_quiet(self, terminal):
        assert type(make_reporter(quiet=True, num_phases=2)) is Reporter

    def test_nothing_on_other_workers(self, terminal, monkeypatch):
        monkeypatch.setattr(progress, "rank", lambda: 1)
        assert type(make_reporter(quiet=False, num_phases=2)) is Reporter


def test_line(capsys, monkeypatch):
    seconds = iter([10.0, 12.5])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(seconds))
    with LineReporter(3) as reporter:
        reporter.phase_started(1, steps=7)
        reporter.step(3)
        reporter.phase_finished(1, 0.75)
    assert capsys.readouterr().out == "phase 2/3: 7 steps in 2.5 s, accuracy on the tasks so far 75.0 %\n"


def test_a_phase_that_ends_early(capsys):
    with LineReporter(3) as reporter:
        reporter.phase_started(0, steps=7)
        reporter.phase_shortened(4)
        reporter.phase_finished(0, 0.75)
    assert capsys.readouterr().out.startswith("phase 1/3: 4 steps in ")


def test_bar(terminal):
    """It shows the phase and how far it is, begins anew with each phase, and is gone in the end; lines stay."""
    with BarReporter(2) as reporter:
        for index in range(2):
            reporter.phase_started(index, steps=200 + index)
            reporter.step(150)
            reporter._bar.refresh()
            reporter.phase_finished(index, 0.5)
    shown = terminal.getvalue()
    for index in range(2):
        assert f"phase {index + 1}/2" in shown
        assert f"150/{200 + index}" in shown
        assert f"phase {index + 1}/2: {200 + index} steps in " in shown
    assert shown.rstrip().endswith("\x1b[2K"), "the line of the bar is erased"


def test_the_bar_goes_when_a_run_fails(terminal):
    with pytest.raises(ZeroDivisionError), BarReporter(1) as reporter:
        reporter.phase_started(0, steps=3)
        raise ZeroDivisionError
    assert reporter._bar.live.is_started is False

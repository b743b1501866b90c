import io

import pytest
from rich.console import Console

from redwood.engine import progress
from redwood.engine.progress import BarReporter, LineReporter, Reporter, about, make_reporter


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


def test_line(capsys):
    seconds = iter([10.0, 11.0, 12.5])
    with LineReporter(3, clock=lambda: next(seconds)) as reporter:
        reporter.phase_started(1, steps=7)
        reporter.step(3)
        reporter.phase_finished(1, 0.75)
    assert capsys.readouterr().out == "phase 2/3: 7 steps in 2.5 s, accuracy on the tasks so far 75.0 %\n"


class TestLinesInside:
    """Lines inside a long phase say how long the run goes on, also where nobody looks."""

    @pytest.fixture
    def clock(self):
        """A clock that shows what is put into its list."""
        return [0.0]

    def test_the_first_ones_come_early_and_the_pauses_grow(self, capsys, clock):
        with LineReporter(1, clock=lambda: clock[0]) as reporter:
            reporter.phase_started(0, steps=1000)
            for second in range(1, 401):
                clock[0] = float(second)
                reporter.step(second)
        shown = [int(line.split()[2]) for line in capsys.readouterr().out.splitlines()]
        assert shown == [2, 6, 14, 30, 62, 122, 182, 242, 302, 362]

    def test_the_time_to_the_end_counts_later_phases_as_the_earlier_ones(self, capsys, clock):
        with LineReporter(4, clock=lambda: clock[0]) as reporter:
            reporter.phase_started(0, steps=100)
            clock[0] = 200.0
            reporter.phase_finished(0, 0.5)
            clock[0] = 300.0  # its tests count, too
            reporter.phase_started(1, steps=100)
            reporter.step(1)
            clock[0] = 325.0
            reporter.step(25)
        first, second = capsys.readouterr().out.splitlines()
        assert first == "phase 1/4: 100 steps in 200.0 s, accuracy on the tasks so far 50.0 %; about 10 min to the end"
        # 75 s of this phase, and two like the mean of 300 s and 100 s.
        assert second == "phase 2/4: 25 of 100 steps in 25.0 s; about 8 min to the end"

    def test_the_warm_up_of_the_first_step_does_not_come_again(self, capsys, clock):
        with LineReporter(3, clock=lambda: clock[0]) as reporter:
            reporter.phase_started(0, steps=101)
            for done, clock[0] in ((1, 20.0), (21, 30.0), (101, 70.0)):
                reporter.step(done)
            reporter.phase_finished(0, 0.5)
        _, second, last = capsys.readouterr().out.splitlines()
        assert second.endswith("21 of 101 steps in 30.0 s; about 2 min to the end"), "40 s and two phases of 50.5 s"
        assert last.endswith("; about 2 min to the end"), "not two phases of 70 s"

    def test_a_single_slow_step_is_told(self, capsys, clock):
        with LineReporter(1, clock=lambda: clock[0]) as reporter:
            reporter.phase_started(0, steps=3)
            clock[0] = 30.0
            reporter.step(1)
        assert capsys.readouterr().out == "phase 1/1: 1 of 3 steps in 30.0 s; about 60 s to the end\n"

    def test_steps_before_a_resume_took_no_time_of_this_process(self, capsys, clock):
        with LineReporter(2, clock=lambda: clock[0]) as reporter:
            reporter.phase_started(0, steps=1000)
            for done in range(901, 904):
                clock[0] += 1.0
                reporter.step(done)
        # 97 s of this phase, and 1,000 of the next one.
        assert capsys.readouterr().out.endswith("902 of 1000 steps in 2.0 s; about 18 min to the end\n")

    @pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h")])
    def test_units(self, seconds, text):
        assert about(seconds) == f"about {text}"


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


def test_the_bar_shows_notes_as_they_are(terminal):
    """Names of classes and folders are no markup."""
    with BarReporter(1) as reporter:
        reporter.note("photos: [red] and [/] are classes")
    assert "photos: [red] and [/] are classes" in terminal.getvalue()


def test_the_bar_goes_when_a_run_fails(terminal):
    with pytest.raises(ZeroDivisionError), BarReporter(1) as reporter:
        reporter.phase_started(0, steps=3)
        raise ZeroDivisionError
    assert reporter._bar.live.is_started is False

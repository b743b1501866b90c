import pytest

from redwood.core.calls import from_command_line
from redwood.core.errors import RedwoodError
from redwood.engine.processes import WorkerCrashedError
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.launchers import jobs
from redwood.experiments.launchers.jobs import Failure, Job, run_job

WORKER = """

-- Process 1 terminated with the following error:
Traceback (most recent call last):
  File "train.py", line 3, in fit
    raise Broken("this:
or that")
{last}
"""


def job(tmp_path):
    return Job(Pair("continual", "random"), ("--seed", "1"), 5, tmp_path / "compared" / "run", devices="1,")


def test_what_a_run_is_told(tmp_path, monkeypatch):
    """Its own seed, folder and device, and to go on with what it finds; W&B groups the runs of a comparison."""
    monkeypatch.setattr(jobs, "execute", lambda options: options)
    options = run_job(job(tmp_path))
    assert (options.setting.seed, options.run.devices, options.run.resume) == (5, "1,", True)
    assert (options.run.run_dir, options.run.context.group) == (str(tmp_path / "compared" / "run"), "compared")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RedwoodError("It is refused."), "It is refused."),
        (ValueError("many\nlines"), "ValueError: many"),
        (AssertionError(), "AssertionError"),
        (SystemExit(3), "SystemExit: 3"),
        (WorkerCrashedError(WORKER.format(last="my.module.Broken: this\nor that")), "my.module.Broken: this"),
        (WorkerCrashedError(WORKER.format(last="AssertionError")), "AssertionError"),
    ],
)
@pytest.mark.few(2)
def test_a_failure_in_one_line(error, reason, tmp_path, monkeypatch, capsys):
    def fail(options):
        raise error

    monkeypatch.setattr(jobs, "execute", fail)
    with from_command_line("redwood"):
        failure = run_job(job(tmp_path))
    foreseen = isinstance(error, RedwoodError)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.unforeseen) == (reason, not foreseen)
    assert capsys.readouterr().err == ("error: It is refused.\n" if foreseen else failure.traceback)
    assert ("in fail" in failure.traceback) is not foreseen

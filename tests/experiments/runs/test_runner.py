import os
import signal
import time

import pytest
from rich.console import Console

from redwood.core.errors import RedwoodError
from redwood.engine.names import short_names
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.config_file import load_config
from redwood.experiments.command_line.options import parse_options
from redwood.experiments.command_line.pairs import Pair
from redwood.experiments.runs import runner
from redwood.experiments.runs.runner import (
    InterruptedRun,
    execute,
    label_of,
    new_run_dir,
    refuse_used,
    resume_run,
)
from redwood.methods.baselines import Finetune

PAIR = Pair("class_incremental", "finetune")


class TestFolders:
    def test_named_by_time_and_pair(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(time, "strftime", lambda pattern: "20261231-235959")
        names = []
        for _ in range(3):
            folder = new_run_dir(label_of(PAIR))
            folder.mkdir(parents=True)
            names.append(str(folder))
        stem = "runs/20261231-235959-class_incremental-finetune"
        assert names == [stem, f"{stem}-2", f"{stem}-3"]

    def test_processes_of_a_launcher_need_one_that_is_named(self, monkeypatch):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")
        monkeypatch.setenv("WORLD_SIZE", "3")
        with pytest.raises(UsageError, match="--run_dir is missing: 3 processes"):
            new_run_dir(label_of(PAIR))

    def test_parts_of_a_composition(self):
        assert label_of(Pair("a.py:A", "ewc+/some/b.py:B")) == "A-ewc+B"
        names = ["ewc", "x.py:Mine", "y.py:Mine", "ewc", "x.py:Other+si"]
        assert short_names(names) == {name: name for name in names} | {"x.py:Other+si": "Other+si"}

    @pytest.mark.parametrize("method", ["my_file.py:Mine", "/some/where/my_file.py:Mine", "package.module:Mine"])
    def test_a_class_is_named_without_its_file(self, method):
        assert label_of(Pair("continual", method)) == "continual-Mine"

    def test_used_ones_are_refused(self, tmp_path):
        refuse_used(tmp_path)
        refuse_used(tmp_path / "new")
        (tmp_path / "file").write_text("")
        for path in (tmp_path, tmp_path / "file"):
            with pytest.raises(RedwoodError, match=r"exists and is not an empty folder; choose another one\."):
                refuse_used(path)
        (tmp_path / "comparison.yaml").write_text("")
        with pytest.raises(RedwoodError, match=r"choose another one, or go on with it by redwood.resume\("):
            refuse_used(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not valid YAML"),
        ("just text", "has to hold lines like"),
        ("", "has to hold lines like"),
        ("1: 2", "has to hold lines like"),
        ("a: {b: c}", "a has to be a plain value or a list"),
        ("a: [[1]]", "a has to be a plain value or a list"),
    ],
)
def test_configuration_files_that_are_none(text, sentence, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(RedwoodError, match=sentence):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize("rank", [0, 1])
def test_of_the_processes_of_a_launcher_the_first_one_prints(rank, tmp_path, monkeypatch, capsys):
    arguments = ["--run_dir", str(tmp_path / "run"), "--quiet", "--accelerator", "cpu", "--passes", "1"]
    execute(parse_options(PAIR, arguments))
    for name, value in (("TORCHELASTIC_RUN_ID", "any"), ("WORLD_SIZE", "2"), ("RANK", str(rank))):
        monkeypatch.setenv(name, value)
    results = resume_run(tmp_path / "run", Console())
    assert len(results.accuracy_matrix) == 5
    printed = capsys.readouterr().out
    assert ("nothing is left to do" in printed, "average accuracy" in printed) == (rank == 0, rank == 0)


@pytest.mark.parametrize("where", ["in the training loop", "in an evaluation"])
def test_an_interrupt_names_the_folder(where, tmp_path, monkeypatch):
    """Lightning makes an exit of it and switches further ones off; a comparison has to hear the next one, too."""

    def interrupt(self, *args):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr(Finetune, "loss" if where == "in the training loop" else "predict", interrupt)
    options = parse_options(PAIR, ["--run_dir", str(tmp_path / "run"), "--quiet", "--accelerator", "cpu"])
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedRun) as caught:
        execute(options)
    assert caught.value.args == (str(tmp_path / "run"),)
    assert signal.getsignal(signal.SIGINT) == before


def test_an_exit_of_a_method_is_no_interrupt(monkeypatch):
    def leave(self, setting):
        raise SystemExit(3)

    monkeypatch.setattr(Finetune, "configure", leave)
    with pytest.raises(SystemExit) as caught:
        execute(parse_options(PAIR, ["--quiet"]))
    assert caught.value.code == 3


def test_options_that_may_change_take_the_place_of_those_of_the_run(tmp_path, monkeypatch):
    pair = "setting: distributed_class_incremental\nmethod: async_rehearsal\n"
    lines = f"format: 2\n{pair}workers: 4\nquiet: false\nbuffer_size: 61\n"
    (tmp_path / "config.yaml").write_text(lines)
    run = []
    monkeypatch.setattr(runner, "run_pair", lambda pair, options, console: run.append(options))
    resume_run(tmp_path, Console(quiet=True))
    resume_run(tmp_path, Console(quiet=True), ["--workers", "2", "--quiet"])
    assert [(options.setting.workers, options.run.quiet, options.method.buffer_size) for options in run] == [
        (4, False, 61),
        (2, True, 61),
    ]
    assert all(options.run.resume and options.run.run_dir == str(tmp_path) for options in run)
    assert (tmp_path / "config.yaml").read_text() == lines

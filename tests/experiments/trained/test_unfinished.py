"""Runs that were stopped: one that has learned nothing is no model, and one that has learned a part says so."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import redwood
from redwood.cli import main
from redwood.methods.baselines import Finetune
from tests.cli.command import assert_one_sentence
from tests.experiments.trained.answers import SAMPLES
from tests.methods.helpers import refused
from tests.samples import few_digits, save_digits
from tests.small_runs import small_setting

CPU = ["--accelerator", "cpu"]


def stops_in(monkeypatch, task: int) -> None:
    """Let the first loss of a task fail, as a method of the user's may."""
    usual = Finetune.loss

    def loss(method, step):
        if method.phase.task_id == task:
            raise ZeroDivisionError("a method of the user's")
        return usual(method, step)

    monkeypatch.setattr(Finetune, "loss", loss)


def crashed(folder: Path, *, task: int) -> Path:
    """A run of three phases that fails in the first loss of a task."""
    data = save_digits(folder / "data.npz", list(range(10)), few_digits())
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(ZeroDivisionError):
        stops_in(monkeypatch, task)
        setting = small_setting("class_incremental", dataset=str(data))
        setting.apply(Finetune(), run_dir=str(folder / "run"), quiet=True, accelerator="cpu")
    return folder / "run"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return crashed(tmp_path_factory.mktemp("none"), task=0)


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    return crashed(tmp_path_factory.mktemp("some"), task=1)


class TestARunThatHasLearnedNothing:
    SENTENCE = "has learned no phase yet; finish it by "

    def test_is_not_loaded(self, untrained):
        with refused(self.SENTENCE):
            redwood.load(untrained)

    @pytest.mark.parametrize(
        "command",
        [
            ("predict", "--dataset", "digits", "--out", "out.csv"),
            ("export", "--out", "out"),
            ("extend", "--dataset", "digits"),
        ],
        ids=lambda command: command[0],
    )
    def test_is_neither_used_nor_extended(self, untrained, tmp_path, monkeypatch, capsys, command):
        monkeypatch.chdir(tmp_path)
        assert main([command[0], str(untrained), *command[1:]]) == 2
        told = capsys.readouterr().err
        assert_one_sentence(told)
        assert self.SENTENCE in told
        assert list(tmp_path.iterdir()) == []


class TestARunThatHasLearnedAPart:
    def test_says_so_when_it_is_loaded(self, partly):
        with pytest.warns(UserWarning, match="has learned 1 of 3 phases") as told:
            model = redwood.load(partly, device="cpu")
        assert model.phases == 1
        assert told[0].filename == __file__, "the warning names the line that loads"

    def test_says_so_when_it_predicts(self, partly, tmp_path):
        np.savez(tmp_path / "new.npz", x=SAMPLES)
        out = ["--out", str(tmp_path / "out.csv"), *CPU]
        with pytest.warns(UserWarning, match="has learned 1 of 3 phases"):
            assert main(["predict", str(partly), "--dataset", str(tmp_path / "new.npz"), *out]) == 0

    def test_says_nothing_once_it_is_over(self, partly, tmp_path, recwarn):
        run = Path(shutil.copytree(partly, tmp_path / "run"))
        assert main(["resume", str(run), "--quiet", "true"]) == 0
        assert redwood.load(run, device="cpu").phases == 3
        assert not [one for one in recwarn if "phases" in str(one.message)]


@pytest.mark.parametrize("data_is_gone", [False, True])
def test_an_extended_run_counts_the_phases_before_it(tmp_path, capsys, data_is_gone):
    first = save_digits(tmp_path / "first.npz", [0, 1, 2, 3], few_digits())
    more = save_digits(tmp_path / "more.npz", [4, 5, 6, 7], few_digits())
    setting = small_setting("class_incremental", dataset=str(first), nb_tasks=2)
    setting.apply(Finetune(), run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
    if data_is_gone:
        first.unlink()
    options = ["--nb_tasks", "2", "--run_dir", str(tmp_path / "further"), "--quiet", "true", *CPU]
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(ZeroDivisionError):
        stops_in(monkeypatch, 2)
        main(["extend", str(tmp_path / "run"), "--dataset", str(more), *options])
    with pytest.warns(UserWarning, match="has learned 2 of 4 phases"):
        redwood.load(tmp_path / "further", device="cpu")

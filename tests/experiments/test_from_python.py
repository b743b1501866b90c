"""`redwood.run` and `redwood.compare`; `tests/docs/test_twins.py` holds them against the commands of the pages."""

import inspect
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import pytest
import torch
from torch import nn

import redwood
from redwood.cli import main
from redwood.core.keywords import as_keywords
from redwood.experiments.runs import runner
from redwood.methods import EWC, Finetune, Rehearsal
from redwood.settings import ClassIncrementalSetting
from tests.cli.command import COMMAND_FILES, environment
from tests.samples import few_digits
from tests.small_runs import comparable

SMALL = {"passes": 1, "nb_tasks": 2, "accelerator": "cpu", "quiet": True}
SCRIPT = """
import redwood

class Mine(redwood.LightningMethod):
    target = redwood.settings.ContinualSetting

    def loss(self, step):
        return super().loss(step)

compared = redwood.compare("class_incremental", ["random", "finetune"], passes=1, nb_tasks=2, quiet=True)
print(compared.complete, [round(run.objective, 4) for run in compared.results])
print(redwood.run("class_incremental", Mine, passes=1, nb_tasks=2, seeds=2, quiet=True))
"""


@dataclass
class Failing(Finetune):
    """Fails with the second seed."""

    always: bool = False

    def on_task_start(self, task_id):
        if self.always or (self.run.context.group is not None and self.setting.seed == 1):
            raise RuntimeError("It broke.")
        super().on_task_start(task_id)

    def configure(self, setting):
        self.setting = setting
        super().configure(setting)


class Plain(nn.Sequential):
    """The simplest network of the digits."""

    def __init__(self):
        super().__init__(nn.Flatten(), Floats(), nn.Linear(64, 10))


class Floats(nn.Module):
    """Its output is its input, as floats."""

    def forward(self, x):
        return x.float()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    temporary = partial(TemporaryDirectory, dir=tmp_path / "temporary")
    monkeypatch.setattr("redwood.experiments.from_python.TemporaryDirectory", temporary)
    return tmp_path


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestRun:
    def test_it_is_the_run_of_the_classes(self, elsewhere):
        results = redwood.run("class_incremental", "rehearsal", buffer_size=20, **SMALL)
        setting = ClassIncrementalSetting(passes=1, nb_tasks=2)
        expected = setting.apply(Rehearsal(buffer_size=20), accelerator="cpu", quiet=True)
        assert comparable(results) == comparable(expected)
        assert left(elsewhere) == ["temporary"], "without run_dir, nothing is written"

    def test_with_a_folder_it_writes_what_the_command_line_writes(self, elsewhere):
        results = redwood.run("domain_incremental", EWC, stream="rotated", angles=[0, 30], run_dir="runs/x", **SMALL)
        assert {path.name for path in (elsewhere / "runs/x").iterdir()} - {".lock"} == COMMAND_FILES
        assert comparable(redwood.Results.load("runs/x/results.json")) == comparable(results)
        assert left(elsewhere / "temporary") == []

    def test_objects_and_classes_of_python(self, elsewhere):
        data = few_digits()

        class Mine(Finetune):
            """Nobody else finds it."""

        results = redwood.run(ClassIncrementalSetting, Mine, dataset=data, **SMALL)
        assert results.dataset == "few_digits" and results.method.endswith("Mine")
        expected = ClassIncrementalSetting(dataset=data, passes=1, nb_tasks=2).apply(
            Finetune(), accelerator="cpu", quiet=True
        )
        assert results.accuracy_matrix == expected.accuracy_matrix

    def test_words_of_other_libraries(self, capsys):
        """Those that the command line accepts, too: see `own_names`."""
        small = {name: value for name, value in SMALL.items() if name not in ("passes", "quiet")}
        results = redwood.run("class_incremental", "naive", n_epochs=1, **small, quiet=True)
        assert "".join(capsys.readouterr()) == ""
        redwood.run("class_incremental", "naive", n_epochs=1, **small, quiet=False)
        assert (results.method, results.options["passes"]) == ("finetune", 1)
        assert "--n_epochs is --passes in redwood" in "".join(capsys.readouterr())

    def test_several_seeds(self, elsewhere):
        pair = redwood.run("class_incremental", "finetune", seeds=2, jobs=1, **SMALL)
        assert isinstance(pair, redwood.PairResults) and [run.seed for run in pair.results] == [0, 1]
        one = redwood.run("class_incremental", "finetune", seed=1, **SMALL)
        assert pair.results[1].accuracy_matrix == one.accuracy_matrix
        assert left(elsewhere) == ["temporary"]

    def test_objects_give_their_class_and_options(self):
        small = {name: value for name, value in SMALL.items() if name not in ("passes", "nb_tasks")}
        results = redwood.run(ClassIncrementalSetting(passes=1, nb_tasks=2), Rehearsal(buffer_size=20), **small)
        expected = redwood.run("class_incremental", "rehearsal", buffer_size=20, **SMALL)
        assert comparable(results) == comparable(expected)

    def test_seeds_of_a_given_module_are_told_to_begin_alike_and_those_of_a_class_are_not(self):
        with pytest.warns(
            UserWarning, match="All seeds begin with the weights of the Plain that was given; give the class"
        ):
            redwood.run("class_incremental", "finetune", model=Plain(), seeds=2, **SMALL)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "All seeds begin")
            redwood.run("class_incremental", "finetune", model=Plain(), **SMALL)
            untrained = {**SMALL, "lr": 1e-9}
            pair = redwood.run("class_incremental", "finetune", model=Plain, seeds=2, run_dir="out", **untrained)
        assert pair[0].options["model"] == "<Plain, given from Python>"
        made = [redwood.load(path, model=Plain) for path in sorted(Path("out").glob("class*"))]
        assert len(made) == 2 and not torch.allclose(*(model.method.network[2].bias for model in made))

    def test_a_failed_seed_is_told_and_no_result_is_an_error(self, elsewhere):
        pair = redwood.run("class_incremental", Failing, seeds=2, jobs=1, **SMALL)
        assert len(pair.results) == 1 and pair.failure == "seed 1: RuntimeError: It broke."
        with pytest.raises(redwood.RedwoodError, match="It broke"):
            redwood.run("class_incremental", Failing, always=True, seeds=2, jobs=1, **SMALL)
        assert left(elsewhere) == ["temporary"]


class TestCompare:
    def test_each_pair_has_its_options(self, elsewhere):
        both = ["class_incremental", "domain_incremental"]
        compared = redwood.compare(both, [Finetune, "rehearsal"], buffer_size=20, jobs=1, run_dir="out", **SMALL)
        assert [pair.label for pair in compared.pairs] == [
            f"{s} / {m}" for s in both for m in ("finetune", "rehearsal")
        ]
        assert compared.complete and compared.folder == Path("out") and len(compared.results) == 4
        assert compared.results[1].options["buffer_size"] == 20
        assert {"comparison.csv", "comparison.yaml", "report.html", "comparison.svg"} <= set(os.listdir("out"))

    def test_a_folder_is_read_again(self, elsewhere):
        methods = ["finetune", Failing, "random", "joint"]
        compared = redwood.compare("class_incremental", methods, seeds=2, jobs=1, run_dir="out", **SMALL)
        read = redwood.Comparison.load("out")
        assert [(p.label, p.failure, p.ran_under) for p in read.pairs] == [
            (p.label, p.failure, p.ran_under) for p in compared.pairs
        ]
        assert read.to_frame().equals(compared.to_frame()) and not read.complete and read.folder == Path("out")
        assert read.plot().axes
        with pytest.raises(redwood.RedwoodError, match=r"which redwood\.Comparison\.load reads; name one"):
            redwood.load("out")
        with pytest.raises(redwood.RedwoodError, match="There is no comparison in"):
            redwood.Comparison.load(elsewhere)

    def test_one_pair_is_a_comparison_too(self, elsewhere):
        compared = redwood.compare("class_incremental", "random", jobs=1, **SMALL)
        assert compared.folder is None and len(compared.results) == 1
        assert left(elsewhere) == ["temporary"]

    def test_processes_of_a_launcher_need_a_folder(self, monkeypatch):
        monkeypatch.setattr(runner, "launched_processes", lambda: 2)
        with pytest.raises(redwood.RedwoodError, match="run_dir is missing: 2 processes that a launcher has started"):
            redwood.compare("class_incremental", "random", **SMALL)

    def test_a_failure_names_no_file_that_is_gone(self, elsewhere, capsys):
        told = {**SMALL, "quiet": False}
        imports = "from dataclasses import dataclass\n\nfrom redwood.methods import Finetune\n\n\n"
        Path("own.py").write_text(f"{imports}{inspect.getsource(Failing)}")  # processes of a pool read it there
        compared = redwood.compare("class_incremental", ["own.py:Failing", "random"], seeds=2, jobs=2, **told)
        assert not compared.complete and compared.pairs[0].failure == "seed 1: RuntimeError: It broke."
        out = capsys.readouterr().out
        assert "Failing, seed 1 failed: RuntimeError: It broke.\n" in out and str(elsewhere / "temporary") not in out

    def test_resume_tells_of_objects_that_no_file_can_hold(self, elsewhere, capsys):
        redwood.compare("class_incremental", "random", dataset=few_digits(), run_dir="out", **SMALL)
        assert main(["resume", "out"]) == 2
        assert "cannot hold the dataset of its runs, which was given from Python" in capsys.readouterr().err
        assert "Started from Python" in Path("out/report.html").read_text()


class Stopping(Finetune):
    """Stops in its second phase, as after Ctrl-C; unless it goes on."""

    goes_on: ClassVar[bool] = False

    def loss(self, step):
        if self.run.global_step > 0 and not self.goes_on:
            os.kill(os.getpid(), signal.SIGINT)
        return super().loss(step)


@pytest.fixture
def stopping(monkeypatch):
    """A class that no other process finds, and the function that lets it go on."""
    monkeypatch.setattr(Stopping, "__module__", "__main__")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: monkeypatch.setattr(Stopping, "goes_on", True)
    signal.signal(signal.SIGINT, before)


class TestResume:
    @pytest.mark.parametrize("more", [{}, {"seeds": 2}])
    def test_after_ctrl_c(self, more, stopping):
        data, call = few_digits(), redwood.compare if more else redwood.run
        with pytest.raises(KeyboardInterrupt) as stopped:
            call("class_incremental", Stopping, dataset=data, run_dir="out", **more, **SMALL)
        assert type(stopped.value) is KeyboardInterrupt, "Python exits with 130 for it alone"
        assert str(stopped.value) == 'interrupted; go on with redwood.resume("out")'
        assert list(Path("out").rglob("inside-phase-001.ckpt"))
        stopping()
        resumed = redwood.resume("out", method=Stopping, dataset=data, quiet=True)
        whole = call("class_incremental", Stopping, dataset=data, **more, **SMALL)
        if more:
            assert list(map(comparable, resumed.results)) == list(map(comparable, whole.results))
        else:
            assert comparable(resumed) == comparable(whole)
        assert repr(redwood.resume("out", method=Stopping, dataset=data)) == repr(resumed), "it is only read"

    def test_what_is_missing_is_told_with_the_call(self, stopping):
        with pytest.raises(KeyboardInterrupt):
            redwood.run("class_incremental", Stopping, dataset=few_digits(), run_dir="out", **SMALL)
        for given, sentence in [
            ({}, r'the dataset of its run, few_digits, .* by redwood.resume\("out", dataset=...\)'),
            ({"dataset": few_digits()}, r'method: __main__:Stopping; call redwood.resume\("out", method=Stopping\)'),
            ({"method": Failing}, "method=Failing is not in out, which has __main__:Stopping; give the class of that"),
            ({"method": "ewc"}, "method=ewc is a name, which out has itself; give a class"),
            ({"lr": 1}, "lr stays as it is"),
        ]:
            with pytest.raises(redwood.RedwoodError, match=sentence):
                redwood.resume("out", **{"dataset": few_digits()} | given if given else {})
        with pytest.raises(redwood.RedwoodError, match="there is no run in this folder"):
            redwood.resume("elsewhere")

    def test_objects_stay_in_this_process(self):
        redwood.compare("class_incremental", "random", dataset=few_digits(), run_dir="out", **SMALL)
        with pytest.raises(redwood.RedwoodError, match="cannot be sent to other processes"):
            redwood.resume("out", dataset=few_digits(), jobs=2)


class TestErrors:
    """They are those of the command line, with its sentences; keywords stand in the place of options."""

    @pytest.mark.parametrize(
        ("words", "keywords"),
        [
            ("--method ewcc", {"method": "ewcc"}),
            ("--method ewc --lrr 1", {"method": "ewc", "lrr": 1}),
            ("--method ewc --lr fast", {"method": "ewc", "lr": "fast"}),
            ("--method ewc --lr -1", {"method": "ewc", "lr": -1}),
            ("--method ppo", {"method": "ppo"}),
            ("--method ewc --angles 1", {"method": "ewc", "angles": [1]}),
            ("--method ewc --dataset digitz", {"method": "ewc", "dataset": "digitz"}),
            ("--method ewc --table latex", {"method": "ewc", "table": "latex"}),
            ("--method ewc --seeds 0", {"method": "ewc", "seeds": 0}),
            ("--method ewc --config none.yaml", {"method": "ewc", "config": "none.yaml"}),
            ("--method ewc --trust", {"method": "ewc", "trust": True}),
            ("", {}),
        ],
    )
    def test_same_sentence(self, words, keywords, capsys):
        assert main(["--setting", "class_incremental", *words.split()]) == 2
        with pytest.raises(redwood.RedwoodError) as raised:
            redwood.run("class_incremental", **keywords)
        assert as_keywords(capsys.readouterr().err) == f"error: {raised.value}\n"
        assert "--" not in str(raised.value)

    def test_those_of_a_trained_model_name_keywords_too(self):
        redwood.run("class_incremental", "random", run_dir="out", **SMALL)
        with pytest.raises(redwood.RedwoodError, match=r"^There is no option lr for"):
            redwood.load("out").learn("digits", lr=1)

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (
                lambda: redwood.run("class_incremental", "ewc,si"),
                "run takes one setting and one method; call redwood.comp",
            ),
            (lambda: redwood.run("all", "ewc"), "run takes one setting"),
            (
                lambda: redwood.compare("class_incremental", "ewc", table="latex"),
                "is written to a folder; name one by run_d",
            ),
            (
                lambda: redwood.compare("class_incremental", "ewc", dataset=few_digits(), jobs=2),
                "<few_digits, given from Python> cannot be sent to other processes; leave jobs",
            ),
        ],
    )
    def test_of_python_alone(self, call, sentence):
        with pytest.raises(redwood.RedwoodError, match=sentence):
            call()

    def test_an_exit_is_an_error(self):
        class Leaving(Finetune):
            """Leaves."""

            def configure(self, setting):
                sys.exit("Bye")

        with pytest.raises(redwood.RedwoodError, match="Bye"):
            redwood.run("class_incremental", Leaving, **SMALL)


@pytest.mark.slow
def test_a_script_needs_no_guard_against_its_own_processes(tmp_path):
    """The processes of a comparison do not run the script again."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("True [0.") and second.startswith("<class_incremental / __main__:Mine: 2 runs, average acc")
    assert left(tmp_path) == ["script.py", "temporary"]

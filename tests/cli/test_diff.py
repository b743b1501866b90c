"""`diff RUN RUN`: the first cause of each planted difference is named."""

import json
import os
import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar
from unittest.mock import patch

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from redwood.cli import main
from redwood.engine import digests
from redwood.methods.baselines import Finetune
from redwood.methods.networks.builtin import mlp
from redwood.settings.scores.results import installed_versions
from tests.cli.command import assert_one_sentence
from tests.samples import few_digits, save_digits
from tests.small_runs import run_here, small_setting

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Noisy(Finetune):
    """Adds noise to the weights at the start of each task; the code of a colleague draws once more in a phase."""

    draws_more_in: ClassVar[int | None] = None

    def on_task_start(self, task_id):
        super().on_task_start(task_id)
        if self.phase_count == self.draws_more_in:
            torch.rand(1)
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.add_(torch.rand_like(parameter), alpha=1e-2)


def run(folder, data, draws_more_in=None, seed=0, workers=1, threads=0, resume=False, **options):
    """Train three tasks, and write all but the pictures."""
    setting = small_setting("class_incremental", dataset=str(data), seed=seed, workers=workers)
    with (
        patch.object(Noisy, "draws_more_in", draws_more_in),
        patch("redwood.engine.figures.plots.draw_run"),
    ):
        return run_here(setting, Noisy(**options), run_dir=str(folder), threads=threads, resume=resume)


def patched(**found):
    """What the readers of the environment find in a run."""
    stack = ExitStack()
    for name, value in found.items():
        stack.enter_context(patch.object(digests, name, lambda value=value: value))
    return stack


@pytest.fixture(scope="module")
def runs(tmp_path_factory, gloo_workers):
    """A run in the folder `base`, and one in a folder for each planted difference."""
    folder = tmp_path_factory.mktemp("diff")
    data, weights = folder / "digits.npz", folder / "weights.pt"
    classes, few = list(range(6)), few_digits(n_train=120, n_test=60)
    save_digits(data, classes, few)
    with patched(checkout=(COMMIT, "clean")):
        run(folder / "base", data)
        run(folder / "same", data)
        run(folder / "option", data, lr=0.1)
        run(folder / "seed", data, seed=1)
        run(folder / "part", data, optimizer={"sgd": {"momentum": 0.9}})
        run(folder / "code", data, draws_more_in=1)
        run(folder / "threads", data, draws_more_in=1, threads=2)
        save_digits(folder / "others.npz", list(range(4, 10)), few)
        run(folder / "dataset", folder / "others.npz")
        with patched(installed_versions=installed_versions() | {"numpy": "1.2.3"}):
            run(folder / "version", data, draws_more_in=1)
            run(folder / "version alone", data)
        with patched(processor="Another 9000"):
            run(folder / "processor", data, draws_more_in=1)
        gloo_workers.run(2, run, folder / "workers", data, None, 0, 2)
        made = mlp(Box(0, 16, (1, 8, 8), np.uint8), 6).state_dict()
        for name, scale in (("weights before", 1.0), ("weights", 2.0)):
            torch.save({key: scale * value for key, value in made.items()}, weights)
            run(folder / name, data, model={"mlp": {"weights": str(weights)}})
        with np.load(data) as arrays:
            changed = {name: arrays[name].copy() for name in arrays}
        changed["x"][7] = 1
        np.savez(data, **changed)
        run(folder / "row", data)
    with patched(checkout=("f" * 40, "clean")):
        save_digits(data, classes, few)
        run(folder / "commit", data, draws_more_in=1)
    with patched(checkout=(COMMIT, "changed (1234abcd)")):
        run(folder / "dirty", data, draws_more_in=1)
    return folder


def told(capsys, *arguments):
    """The exit code, and the output."""
    code = main(["diff", *map(str, arguments)])
    return code, capsys.readouterr().out


REAL = installed_versions()["numpy"]
# The start of the sentence on each; {} are the names of the two folders.
PLANTED = {
    "option": "The option lr differs: 0.05 in base, 0.1 in option; results differ first in phase 1, in the weights.",
    "seed": "The seed differs: 0 in base, 1 in seed; results differ first before training, in the ",
    "part": "The option momentum differs: 0 in base, 0.9 in part; results differ first in phase 1, in the weights.",
    "dataset": "The option dataset differs: ",
    "row": "The training data (a sample, a label or their order) differs: ",
    "weights": "The content of the file of weights differs: ",
    "version": f"The version of numpy differs: {REAL} in base, 1.2.3 in version; results differ first in phase 2, in",
    "commit": f"The commit of redwood differs: {COMMIT[:12]} in base, {'f' * 12} in commit; results differ first in",
    "dirty": "The state of redwood's checkout differs: clean in base, changed (1234abcd) in dirty; results differ",
    "processor": f"The processor differs: {digests.processor()} in base, Another 9000 in processor; results differ f",
    "threads": "The number of threads of torch differs: 1 in base, 2 in threads; results differ first in phase ",
    "workers": "The number of workers differs: 1 in base, 2 in workers; results differ first in phase 1, in the input",
    "code": "No recorded cause explains the difference, which begins in phase 2, in the weights; compare your own code",
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_first_cause_is_named(runs, monkeypatch, capsys, name):
    monkeypatch.chdir(runs)
    code, out = told(capsys, "weights before" if name == "weights" else "base", name)
    assert code == 1
    assert out.startswith(PLANTED[name])
    assert out.count(".\n") == 1 and "all differences" in out


def test_a_cause_comes_before_what_it_explains(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    _, out = told(capsys, "option", "seed")
    lines = [line.split("  ")[0] for line in out.splitlines()]
    assert out.startswith("The option lr differs")
    assert lines.index("option lr") < lines.index("seed") < lines.index("weights") < lines.index("inputs")


def test_equal_results(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert told(capsys, "base", "same/results.json") == (0, "The results are equal.\n")
    code, out = told(capsys, "base", "version alone")
    assert code == 0
    assert out.startswith(f"The results are equal, although the version of numpy differs: {REAL} in base, 1.2.3 in ")


def test_a_resumed_run_equals_an_uninterrupted_one(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    fit = Noisy.fit

    def stop_in_third_phase(self, phase):
        if phase.index == 2:
            raise InterruptedError
        fit(self, phase)

    with patched(checkout=(COMMIT, "clean")):
        save_digits(runs / "digits.npz", list(range(6)), few_digits(n_train=120, n_test=60))
        with patch.object(Noisy, "fit", stop_in_third_phase), pytest.raises(InterruptedError):
            run("resumed", runs / "digits.npz")
        assert told_error(capsys, "base", "resumed").startswith(
            "error: diff resumed: this run has no results.json yet; finish it by python cli.py resume resumed."
        )
        shutil.copytree("resumed", "moved")
        run("resumed", runs / "digits.npz", resume=True)
    assert told(capsys, "base", "resumed") == (0, "The results are equal.\n")
    with patched(checkout=("f" * 40, "clean")):
        run("moved", runs / "digits.npz", resume=True)
    sittings = json.loads((runs / "moved" / "results.json").read_text())["reproduction"]["sittings"]
    assert [sitting["from_phase"] for sitting in sittings] == [0, 2]
    code, out = told(capsys, "base", "moved")
    assert code == 0
    assert f"the commit of redwood differs: {COMMIT[:12]} in base, {COMMIT[:12]}, then {'f' * 12} in moved." in out


def told_error(capsys, *arguments):
    """The sentence of a refusal."""
    assert main(["diff", *arguments]) == 2
    error = capsys.readouterr().err
    assert_one_sentence(error)
    return error


def test_what_is_refused(runs, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    base = str(runs / "base")
    content = json.loads((runs / "base" / "results.json").read_text())
    files = {
        "old": {name: value for name, value in content.items() if name != "reproduction"},
        "foreign": content | {"config": []},
        "damaged": content | {"reproduction": content["reproduction"] | {"phases": [{"inputs": 3, "state": {}}]}},
        "list": [1],
    }
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for given, sentence in {
        "nowhere": "diff nowhere: there is no run; give the folder of a finished run, or its results.json.",
        "empty": "diff empty: there is no run; give the folder of a finished run, or its results.json.",
        "old": "diff old: its results have no digests, as of another version of redwood or of a run without a folder;",
        "foreign": "The file foreign is damaged or not redwood's: config has to be a mapping of names, not a list;",
        "damaged": "reproduction.phases[0].inputs has to be a text, not 3; give the results.json of a run.",
        "list": "has to be a mapping, not a list; give the results.json of a run.",
        "pipe": "pipe is no file, where one is read; remove it.",
    }.items():
        assert sentence in told_error(capsys, base, given), given
    assert "required: RUN" in told_error(capsys, base)


def test_a_strangers_results_run_no_code_and_steer_no_terminal(runs, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").symlink_to(runs / "base")
    (tmp_path / "planted.py").write_text("open('ran', 'w')")
    content = json.loads((runs / "base" / "results.json").read_text())
    content |= {"results": ["planted.py:Own", "planted:Own"], "own": [1]}
    content["config"] |= {"method": "planted.py:Own", "name": "\x1b]0;owned\x07"}
    (tmp_path / "results.json").write_text(json.dumps(content))
    code, out = told(capsys, "base", ".")
    assert code == 1 and re.search(r"entries own of\s+results.json", out)
    assert "\x1b" not in out and "?]0;owned" in out
    assert not (tmp_path / "ran").exists()

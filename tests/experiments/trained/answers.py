"""Runs of every method, and what a fresh process answers that loads them: `python -m ...answers FOLDER ANSWERS`."""

import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

import redwood
from redwood.methods import get_method
from redwood.methods.baselines import Random
from redwood.methods.table import method_names
from redwood.settings.assumptions import TaskIds
from redwood.settings.table import name_of_setting
from tests.samples import few_digits
from tests.small_runs import OPTIONS, small_setting

SAMPLES = few_digits(n_test=200).x_test[torch.arange(200)]


def home_of(method: str) -> str:
    """The most general setting of a method, by its key; that of `random`, which applies everywhere, is `continual`."""
    cls = get_method(method)
    return "continual" if cls is Random else name_of_setting(cls.target)


def supervised_methods() -> list[str]:
    """Keys of all methods that learn from labels."""
    return [key for key in method_names() if not get_method(key).target.assumptions.rewards]


def task_ids(shown: bool) -> Tensor | None:
    """A task for each of `SAMPLES`, if the setting tells it."""
    return torch.arange(len(SAMPLES)) % 3 if shown else None


def train(method: str, folder: Path) -> Tensor:
    """Run a method on its home setting; its own answer for `SAMPLES`."""
    setting, learner = small_setting(home_of(method)), get_method(method)(**OPTIONS.get(method, {}))
    setting.apply(learner, run_dir=str(folder), quiet=True, accelerator="cpu", checkpoint_every=0)
    torch.manual_seed(0)  # for answers that are drawn
    return learner.predict(SAMPLES, task_ids(setting.assumptions.task_ids >= TaskIds.TEST))


def answer(folder: Path) -> Tensor:
    """The answer of the loaded run for `SAMPLES`: scores, or classes where the method has no scores."""
    model = redwood.load(folder, device="cpu")
    ids = task_ids(model.setting.assumptions.task_ids >= TaskIds.TEST)
    torch.manual_seed(0)
    has_scores = model.method.predict(SAMPLES[:1], None if ids is None else ids[:1]).dim() == 2
    torch.manual_seed(0)
    return model.scores(SAMPLES, ids) if has_scores else model.predict(SAMPLES, ids)


def fresh_answers(folders: Path, file: Path) -> dict[str, Tensor]:
    """The answers of all runs in `folders`, by a process of its own."""
    subprocess.run([sys.executable, "-m", __name__, str(folders), str(file)], check=True, capture_output=True)
    answers: dict[str, Tensor] = torch.load(file, weights_only=True)
    return answers


if __name__ == "__main__":
    runs = sorted(Path(sys.argv[1]).iterdir())
    torch.save({run.name: answer(run) for run in runs}, sys.argv[2])

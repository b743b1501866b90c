"""Which methods end alike if two tasks are extended by three, and if five tasks are one run.

Digits in five tasks: with the same classes (`domain_incremental`), with two new classes each (`class_incremental`), and
with ids at test (`task_incremental`). A run over the first two is extended by the rest, as `--extend` does. It is
compared with one run over all five: the predictions for 100 samples, and the accuracy on each task at the end.

Run: python benchmarks/extend.py [--methods ncm rehearsal]. Writes benchmarks/results/extend.{json,md}.
"""

import argparse
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import environment, markdown_table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.samples import few_digits
from tests.small_runs import OPTIONS

from redwood.core.errors import RedwoodError
from redwood.experiments.runner import execute
from redwood.experiments.trained.extend import extended_options
from redwood.methods import get_method
from redwood.methods.table import method_names
from redwood.settings import get_setting
from redwood.settings.base import why_not_applicable

SETTINGS = ("domain_incremental", "class_incremental", "task_incremental")
DATA = few_digits(n_train=800, n_test=360)
BRIGHTER = 15  # a file of bytes is scaled by 255, and digits go up to 16
SAMPLES = DATA.x_test[torch.arange(100)] * BRIGHTER
RUN = {"passes": 4, "batch_size": 16}
EQUAL, GROWS = "equal", "grows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", default=method_names(), help="keys of methods (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for method in options.methods:
            row = row_of(method, Path(name) / method)
            if row is not None:
                rows.append(row)
                print(*row.values(), flush=True)
    text = [
        f"`{EQUAL}`: predictions and accuracies of 2 + 3 tasks are those of five tasks in one run, bit for bit.",
        f"`{GROWS}`: the run over five tasks knew all classes beforehand, the extended one got new outputs; in "
        "brackets the average accuracy at the end, of 2 + 3 tasks and of one run.",
        "`refused`: one sentence says why. Empty: the method does not apply.",
        markdown_table(rows),
    ]
    write("extend", {**environment(), "rows": rows}, "\n\n".join(text))


def row_of(method: str, folder: Path) -> dict[str, Any] | None:
    """What became of a method under each setting; None if it applies to none of them."""
    applies = [name for name in SETTINGS if why_not_applicable(get_setting(name), get_method(method)) is None]
    if not applies:
        return None
    found = {name: compare(name, method, folder / name) if name in applies else "" for name in SETTINGS}
    return {"method": f"`{method}`", **{name.replace("_", " "): value for name, value in found.items()}}


def compare(setting: str, method: str, folder: Path) -> str:
    """Extend two tasks by three, and compare with five."""
    folder.mkdir(parents=True)
    shared = setting == "domain_incremental"
    (write_tasks if shared else write_classes)(folder)
    cut = [{}, {}] if shared else [{"nb_tasks": n // 2, "class_order": list(range(n))} for n in (4, 10)]
    run(setting, method, folder, "first", **cut[0])
    further = [] if shared else ["--nb_tasks", "3", "--class_order", *"012345"]
    try:
        extended = extended_options(folder / "first", ["--dataset", str(folder / "rest.npz"), *further], trusted=False)
        extended = replace(extended, run=replace(extended.run, run_dir=str(folder / "extended"), quiet=True))
        results = execute(extended)
    except RedwoodError:
        return "refused"
    whole, learner = run(setting, method, folder, "whole", eval_tasks="seen", **cut[1])
    same = torch.equal(answer(extended.method, setting), answer(learner, setting))
    if same and results.accuracy_matrix[-1] == whole.accuracy_matrix[-1]:
        return EQUAL
    return f"{GROWS} ({results.objective * 100:.1f} / {whole.objective * 100:.1f})"


def run(setting: str, method: str, folder: Path, name: str, **cut: Any) -> Any:
    """A run over one of the files; its results, and the trained method."""
    learner = get_method(method)(**OPTIONS.get(method, {}))
    made = get_setting(setting)(dataset=str(folder / f"{name}.npz"), **RUN, **cut)
    return made.apply(learner, run_dir=str(folder / name), quiet=True, accelerator="cpu"), learner


def answer(learner: Any, setting: str) -> torch.Tensor:
    """What a trained method answers; what it draws is the same each time."""
    torch.manual_seed(0)
    ids = torch.arange(len(SAMPLES)) % 5 if setting == "task_incremental" else None
    prediction: torch.Tensor = learner.predict(SAMPLES, ids)
    return prediction


def write_classes(folder: Path) -> None:
    """Files of the first four classes, of the other six, and of all; classes are called by their numbers."""
    for name, classes in (("first", range(4)), ("rest", range(4, 10)), ("whole", range(10))):
        arrays = {}
        for split, x, y in (("", DATA.x, DATA.y), ("_test", DATA.x_test, DATA.y_test)):
            own = torch.isin(y, torch.tensor(list(classes)))
            arrays |= {f"x{split}": x[own].numpy() * BRIGHTER, f"y{split}": y[own].numpy().astype(str)}
        np.savez(folder / f"{name}.npz", **arrays)


def write_tasks(folder: Path) -> None:
    """Files of the first two tasks, of the other three, and of all five; each task has all classes."""
    for name, tasks in (("first", (0, 1)), ("rest", (2, 3, 4)), ("whole", (0, 1, 2, 3, 4))):
        arrays = {}
        for split, x, y in (("", DATA.x, DATA.y), ("_test", DATA.x_test, DATA.y_test)):
            task = np.arange(len(y)) % 5
            own = np.isin(task, tasks)
            arrays |= {
                f"x{split}": np.asarray(x)[own] * BRIGHTER,
                f"y{split}": y.numpy()[own],
                f"t{split}": task[own] - tasks[0],
            }
        np.savez(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()

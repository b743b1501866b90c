"""Methods that cheat by looking at what a setting keeps to itself, or at the order of a test."""

import pytest
import torch
from torch import Tensor

from redwood.core.errors import RedwoodError
from redwood.settings import AllTasks, ClassSplit, TaskList
from tests.cheats import EVERYWHERE, IDS_HIDDEN_AT_TEST, Honest, once, run, scores_alike

# What the setting keeps to itself.


class MorePassesByForce(Honest):
    """The view is the method's own: what it writes into it is read by nobody else."""

    def configure(self, setting):
        super().configure(setting)
        vars(setting).update(passes=50, seed=3, validation=0.5, nb_tasks=1)
        for options in vars(setting).values():
            if isinstance(options, list):
                options.append(7)
        for space in (setting.observation_space, setting.action_space):
            vars(space).update(n=3, start=1)


@pytest.mark.parametrize("key", once(EVERYWHERE))
class TestView:
    def test_options_by_force(self, key):
        scores_alike(key, MorePassesByForce())


def attribute(value, name):
    try:
        return getattr(value, name)
    except RedwoodError:
        return None


class LooksEverywhere(Honest):
    """Follows all attributes of all that it is given, and notes down whatever is as long as a phase or a test set."""

    def __init__(self):
        self.found = []

    def configure(self, setting):
        super().configure(setting)
        self.look(setting)

    def fit(self, phase):
        batches = iter(phase.train)
        batch = next(batches)
        self.look(phase, batches, batch)
        self.score(phase, batch)
        self.learn(batch)
        if phase.train.samples_served < sum(phase.train.sizes) * phase.train.passes:
            super().fit(phase)

    def look(self, *given):
        """Collect tensors that tell of more than one batch: samples, labels or tasks."""
        waiting, seen = list(given), {}
        while waiting:
            value = waiting.pop()
            if id(value) in seen or isinstance(value, type):
                continue
            seen[id(value)] = value
            if isinstance(value, Tensor):
                if len(value.shape) and len(value) > 16 and value.any():
                    self.found.append(value)
            elif isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list | tuple | set):
                waiting += value
            elif type(value).__module__.startswith("redwood"):
                waiting += vars(value).values() if hasattr(value, "__dict__") else ()
                waiting += [attribute(value, name) for name in dir(value) if not name.startswith("__")]


@pytest.mark.parametrize("key", once(EVERYWHERE))
@pytest.mark.parametrize("validation", [0, 0.2])
def test_no_attribute_leads_to_more_than_the_batch(key, validation):
    method = LooksEverywhere()
    run(key, method, validation=validation)
    assert method.found == []


@pytest.mark.parametrize("key", ["continual", "class_incremental", "task_incremental", "cumulative_task_incremental"])
def test_no_attribute_leads_to_tasks_to_come(key, tmp_path):
    """Neither to their samples nor to their list; nor does the learning curve lead to test samples."""
    path, method = tmp_path / "tasks.yaml", LooksEverywhere()
    path.write_text("".join(f"- {{dataset: digits, train_per_class: {n}, validation_per_class: 2}}\n" for n in (3, 4)))
    lca = {"eval_tasks": AllTasks(lca=2)} if key in ("class_incremental", "task_incremental") else {}
    options = {"stream": TaskList(stream_file=str(path)), "dataset": "digits", "nb_tasks": None}
    run(key, method, **options | lca)
    assert method.found == []


# What the order of an evaluation could tell.


class RulesOut(Honest):
    """Rules out the classes of all tasks but one, which it guesses: of each sample alone, or by its place."""

    def __init__(self, by_place):
        self.by_place = by_place

    def predict(self, x, task_id):
        task = torch.arange(len(x)) * 3 // len(x) if self.by_place else torch.randint(3, (len(x),))
        groups = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
        return self.scores(x).masked_fill(groups != task[:, None], -torch.inf)


@pytest.mark.parametrize("key", once(key for key in IDS_HIDDEN_AT_TEST if "domain" not in key))
def test_the_place_of_a_test_sample_tells_no_task(key):
    """Sorted by task, place would be worth as much as an id: about .9."""
    by_place, guessed = (
        run(key, RulesOut(by_place), stream=ClassSplit(class_order=range(10)), passes=1) for by_place in (True, False)
    )
    assert by_place.objective <= guessed.objective + 0.15

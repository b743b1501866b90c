import pytest
import torch

from redwood.branches.growing.reuse_outputs import ReuseOutputs
from redwood.core.errors import InvalidOptionError, NotApplicableError
from redwood.methods import compose, get_method
from redwood.methods.baselines import Finetune
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import AllTasks, ClassSplit, OnlineClassIncrementalSetting
from redwood.settings.data.dataset import Dataset
from tests.methods.helpers import configured
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

SPLIT = {3: [(0, 0)], 4: [(0, 1)]}
MERGE = {3: [(0, 0), (0, 1), (1, 0), (1, 1)], 4: [(2, 0), (2, 1)]}


def blobs(later, seed=0, n=60):
    """Classes 0 to 2 have two blobs each; class and blob of what later classes are made of are given."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(3, 2, 8, generator=generator)
    classes = {label: [(label, 0), (label, 1)] for label in range(3)} | later

    def draw():
        parts = [
            (centres[place] + torch.randn(n // len(places), 8, generator=generator), label)
            for label, places in classes.items()
            for place in places
        ]
        return torch.cat([x for x, _ in parts]), torch.cat([torch.full((len(x),), y) for x, y in parts])

    return Dataset("blobs", *draw(), *draw())


def run(method, later, key="class_incremental", seed=0):
    options = {
        "stream": ClassSplit(increment=[3, 2], class_order=[0, 1, 2, 3, 4]),
        "passes": 5,
        "eval_tasks": AllTasks(lca=4),
        "seed": seed,
    }
    return run_here(small_setting(key, dataset=blobs(later, seed), nb_tasks=None, **options), method)


@pytest.mark.parametrize(
    ("later", "key", "other"),
    [
        (SPLIT, "class_incremental", Finetune),
        (SPLIT, "class_incremental", Rehearsal),
        (MERGE, "class_incremental", Rehearsal),
        (MERGE, "task_incremental", Finetune),
    ],
)
@pytest.mark.few(1)
def test_the_first_batches_of_a_split_or_a_merge_are_more_accurate(later, key, other):
    """Not so of a split with ids at test: there, two equal rows start where two unequal ones did."""
    gains = []
    for seed in range(2):
        curves = [run(cls(), later, key, seed).learning_curves[1] for cls in (compose(ReuseOutputs, other), other)]
        gains.append(sum(a - b for a, b in zip(*curves, strict=True)) / len(curves[0]))
    assert min(gains) > 0 and sum(gains) / 2 > 0.1


class Preview:
    """A phase whose samples to look at are given."""

    def __init__(self, x, y, task_classes):
        self.train, self.task_id, self.task_classes = self, 1, task_classes
        self._batch = type("Batch", (), {"x": x, "y": y})

    def preview(self, n):
        return self._batch


class TestRows:
    @pytest.fixture
    def method(self):
        method = configured(ReuseOutputs())
        method.known[:4] = True
        return method

    @torch.no_grad()
    def taken(self, method, x):
        return method.network(x)[:, :4].argmax(1)

    def test_they_are_means_weighted_by_the_shares_of_the_samples(self, method):
        x, y = few_digits().x[:40], 4 + torch.arange(40) % 2
        weight, bias = method._reused_layer.weight.detach().clone(), method._reused_layer.bias.detach().clone()
        answers = self.taken(method, x)
        new = torch.zeros(10, dtype=torch.bool)
        new[[4, 5, 6]] = True
        method._start_outputs(Preview(x, y, {}), new)
        for label in (4, 5):
            shares = torch.bincount(answers[y == label], minlength=4) / 20
            assert (shares > 0).sum() > 1
            torch.testing.assert_close(method._reused_layer.weight[label], shares @ weight[:4])
            torch.testing.assert_close(method._reused_layer.bias[label], shares @ bias[:4])
        others = [0, 1, 2, 3, 6, 7, 8, 9]
        assert torch.equal(method._reused_layer.weight[others], weight[others]), "6 has no sample, 7 is not new"
        assert method.n_reused == 2

    def test_a_split_copies(self, method):
        x = few_digits().x[:40]
        (most,) = self.taken(method, x).mode().values[None]
        x = x[self.taken(method, x) == most]
        new = torch.zeros(10, dtype=torch.bool)
        new[[5, 6]] = True
        method._start_outputs(Preview(x, 5 + torch.arange(len(x)) % 2, {}), new)
        for label in (5, 6):
            assert torch.equal(method._reused_layer.weight[label], method._reused_layer.weight[most])


def test_classes_that_come_again_keep_their_outputs():
    method = ReuseOutputs()
    with pytest.warns(UserWarning, match="No output was used again"):
        run_here(small_setting("domain_incremental", stream="rotated"), method)
    assert not method.n_reused


def test_one_pass_is_refused():
    with pytest.raises(NotApplicableError, match="passes"):
        OnlineClassIncrementalSetting(nb_tasks=2).apply(get_method("reuse_outputs+rehearsal")(), quiet=True)


def test_bad_options():
    with pytest.raises(InvalidOptionError, match="--preview_samples"):
        ReuseOutputs(preview_samples=0)

import pytest
import torch
from torch.nn import functional as F

from redwood.branches.growing.c_ada import CAda
from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.networks import build_network
from redwood.methods.networks.parts import Network
from redwood.methods.training.optimizers import Sgd
from redwood.settings import ClassSplit
from tests.methods.helpers import batch_of, configured, step_of
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting

HALVES = {"dataset": few_digits(600, 200), "nb_tasks": None, "stream": ClassSplit(increment=[5, 2, 3]), "passes": 8}


class Watched(CAda):
    """Notes what each column answers at the end of each phase."""

    def configure(self, setting):
        super().configure(setting)
        self.answers = []

    @torch.no_grad()
    def fit(self, phase):
        with torch.enable_grad():
            super().fit(phase)
        x = few_digits().x_test
        self.network.eval()
        features, read = self.adapted.features(x)
        self.answers.append([features, *self.adapted.adapted(features, read)])
        self.network.train()


@pytest.mark.parametrize("model", ["mlp", "slim_resnet18"])
def test_nothing_of_an_old_column_changes(model):
    method = Watched(model=model, optimizer=Sgd(momentum=0.9, weight_decay=0.01))
    run_here(small_setting("class_incremental", nb_tasks=5, stream=ClassSplit(increment=[])), method)
    assert [len(answers) for answers in method.answers] == [1, 2, 3, 4, 5]
    for earlier in method.answers[:-1]:
        for then, now in zip(earlier, method.answers[-1][: len(earlier)], strict=True):
            assert torch.equal(then, now)


def test_forgetting_is_zero_where_the_task_is_given():
    """From the extractor's task on, which is trained by no later one."""
    results = run_here(small_setting("task_incremental", nb_tasks=5), CAda())
    assert results.metrics["forgetting"] == 0.0


def test_the_other_half_of_the_classes():
    final = [run_here(small_setting("class_incremental", **HALVES), method) for method in (CAda(), Finetune())]
    own, others = [sum(results.accuracy_matrix[-1][1:]) / 2 for results in final]
    assert own > others + 0.2
    assert final[0].accuracy_matrix[-1][0] > 0.5


def test_double_precision():
    results = run_here(small_setting("class_incremental"), CAda(), precision="64-true")
    assert results.objective > 0.2


class TestExtractor:
    def test_a_pretrained_module_is_frozen_from_the_start(self):
        network = build_network("mlp", small_setting("class_incremental").observation_space, 10)
        method = CAda(model=network, extractor_tasks=0)
        run_here(small_setting("class_incremental"), method)
        now = method.adapted.network.state_dict()
        assert all(torch.equal(now[name], value) for name, value in network.state_dict().items())
        assert len(method.adapted.columns) == 3 and not method.adapted.trained.any()

    def test_weights_of_a_file(self, tmp_path):
        space = small_setting("class_incremental").observation_space
        network = build_network("mlp", space, 10)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        method = configured(CAda(model=Network("mlp", str(tmp_path / "weights.pth")), extractor_tasks=0))
        own, given = method.adapted.network.state_dict(), network.state_dict()
        assert all(torch.equal(own[name], given[name]) for name in given if not name.startswith("head"))

    def test_two_tasks_train_it(self):
        method = CAda(extractor_tasks=2)
        run_here(small_setting("class_incremental"), method)
        assert len(method.adapted.columns) == 1
        assert int(method.adapted.trained.sum()) + len(method.adapted.latest.classes) == 10

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"model": Network(weights="none.pth")}, "--weights none.pth does not exist"),
            ({"optimizer_state": "keep"}, "--optimizer_state keep does not go with c_ada"),
            ({"extractor_tasks": -1}, "--extractor_tasks"),
            ({"column_width": 0}, "--column_width"),
            ({"orthogonality": -1.0}, "--orthogonality"),
            ({"cosine_scale": 0.0}, "--cosine_scale"),
        ],
    )
    def test_bad_options(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence):
            configured(CAda(**options))


class TestStep:
    def with_column(self, classes=(5, 6), **options):
        method = configured(CAda(extractor_tasks=0, **options))
        for added in ([0, 1], list(classes)):
            method._add_column(torch.tensor(added))
            method._classes = torch.tensor(added)
        return method

    def test_the_loss_is_among_the_classes_of_the_task_and_adds_the_overlap(self):
        method, batch = self.with_column(orthogonality=0.3), batch_of(0, 80, (5, 6))
        scores = method.network(batch.x)[:, [5, 6]]
        expected = F.cross_entropy(scores, batch.y - 5) + 0.3 * method.adapted.overlap()
        assert method.adapted.overlap() > 0
        torch.testing.assert_close(method.loss(step_of(batch)), expected)

    def test_rows_start_as_means_in_the_first_batch_that_shows_their_class(self):
        method = self.with_column(classes=(5, 6))
        rows = method.adapted.latest.rows.weight
        drawn = rows.detach().clone()
        for classes, started in (((5,), [True, False]), ((5, 6), [True, True])):
            batch = batch_of(0, 60, classes) if len(classes) == 1 else batch_of(60, 120, classes)
            method.on_batch_end(step_of(batch), torch.zeros(()), 0)
            assert method.adapted.latest.started.tolist() == started
        with torch.no_grad():
            means = [
                F.normalize(method.adapted.features(batch_of(start, stop, (label,)).x)[0]).mean(0)
                for start, stop, label in ((0, 60, 5), (60, 120, 6))
            ]
        torch.testing.assert_close(rows.detach(), torch.stack(means))
        assert not torch.equal(rows, drawn)


def test_a_class_of_several_tasks_and_a_task_of_one_class():
    """The first has a row in each column; the second has nothing to be told apart from."""
    run_here(small_setting("domain_incremental", stream="rotated"), CAda())
    results = run_here(small_setting("class_incremental", nb_tasks=10), CAda())
    assert sum(results.accuracy_matrix[-1]) > 0.2

from copy import deepcopy
from dataclasses import dataclass
from math import exp, log

import pytest
import torch
from torch.nn.functional import normalize

from redwood.core.errors import InvalidOptionError
from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.networks.last_layer import features_of
from redwood.settings import ClassSplit
from tests.methods.helpers import configured, one_sentence
from tests.samples import few_digits
from tests.small_runs import run_here, small_setting


def by_hand(outputs, y, seen, old, taught):
    """Algorithm 3: sums over the classes seen so far, one term after the other; a mean over the samples."""
    total = 0.0
    for i, label in enumerate(y.tolist()):
        for j in seen:
            p = 1 / (1 + exp(-float(outputs[i, j])))
            target = 1 / (1 + exp(-float(old[i, j]))) if j in taught else float(j == label)
            total -= target * log(p) + (1 - target) * log(1 - p)
    return total / len(y)


def herded(features, k):
    """Algorithm 4, one exemplar after the other."""
    mean, chosen = features.mean(0), []
    for _ in range(k):
        left = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(left, key=lambda i: (mean - features[[*chosen, i]].mean(0)).norm().item()))
    return chosen


@dataclass
class Watched(ICaRL):
    """Compares what happens with what the paper says, task by task."""

    def configure(self, setting):
        super().configure(setting)
        self.classes, self.losses, self.previous, self.heads_after = [], [], None, []
        self.found, self.expected = [], []
        self.initial_head = self.network.head.weight.detach().clone()

    def fit(self, phase):
        self.classes.append(sorted({label for group in phase.task_classes.values() for label in group}))
        self.check_answer(seen=self.classes[:-1] or [range(10)])
        super().fit(phase)

    def check_answer(self, seen):
        """While a task is trained the network answers, not the means, and with classes that it was taught."""
        x = few_digits().x_test
        expected = torch.full((len(x), 10), -torch.inf)
        labels = sorted({label for group in seen for label in group})
        expected[:, labels] = self.network(x).detach()[:, labels]
        assert torch.equal(self.predict(x, None), expected)

    def loss(self, step):
        loss, batch = super().loss(step), step.batch
        self.check_answer(seen=self.classes)
        taught = {label for group in self.classes[:-1] for label in group}
        old = None if self.previous is None else self.previous(batch.x).detach()
        seen = sorted(taught | set(self.classes[-1]))
        outputs = self.network(batch.x).detach()
        self.losses.append((float(loss.detach()), by_hand(outputs, batch.y, seen, old, taught - set(self.classes[-1]))))
        return loss

    def _choose_exemplars(self):
        pool, before = self.candidates.all(), self.exemplars()
        features = normalize(self.network.features(self.network.scale(pool["x"])), dim=1).detach()
        super()._choose_exemplars()
        after = self.exemplars()
        for name, kept in after.items():
            if name in before:
                expected = before[name][: len(kept)]
            else:
                members = (pool["y"] == name).nonzero()[:, 0]
                expected = pool["x"][members[herded(features[members], len(kept))]]
            self.found.append(kept)
            self.expected.append(expected)

    def exemplars(self):
        rows = self.buffer.policy.exemplars
        return {name: self.buffer.read(torch.tensor(slots))["x"] for name, slots in rows.items()}

    def on_task_end(self, task_id):
        super().on_task_end(task_id)
        self.previous = deepcopy(self.network)
        self.heads_after.append(self.network.head.weight.detach().clone())


@pytest.fixture(scope="module")
def watched():
    method = Watched(buffer_size=31)
    run_here(small_setting("class_incremental"), method)
    return method


class TestLoss:
    def test_it_is_algorithm_3(self, watched):
        """Old classes get the old network's answers, for new samples and exemplars; classes to come count nothing."""
        losses = watched.losses
        assert len(losses) > 20
        for loss, expected in losses:
            assert loss == pytest.approx(expected, rel=1e-4)

    def test_outputs_of_classes_to_come_are_not_trained(self, watched):
        before, seen = watched.initial_head, set()
        for classes, after in zip(watched.classes, watched.heads_after, strict=True):
            seen |= set(classes)
            to_come = [label for label in range(10) if label not in seen]
            assert torch.equal(after[to_come], before[to_come])
            assert not bool((after[classes] == before[classes]).all(1).any())


class TestExemplars:
    def test_they_are_those_of_herding_on_the_candidates_and_lose_the_last_ones_first(self, watched):
        assert len(watched.found) == 4 + 7 + 10
        for found, expected in zip(watched.found, watched.expected, strict=True):
            assert torch.equal(found, expected)
            assert len(found) > 0

    def test_the_classes_share_the_memory(self, watched):
        assert sorted(watched.buffer.class_counts().values()) == [3] * 9 + [4]

    def test_candidates_are_let_go_but_count_and_so_does_the_teacher(self, watched):
        assert len(watched.candidates) == watched.candidates.nbytes == 0
        expected = (31 + 2000) * 80 + 4 * watched.costs()["parameters"]
        assert watched.costs()["buffer_bytes"] == expected


class TestPrediction:
    def test_it_is_the_nearest_mean_of_exemplars(self, watched):
        method, x = watched, few_digits().x_test
        rows = method.buffer.all()
        features, queries = (normalize(features_of(method.network, samples), dim=1) for samples in (rows["x"], x))
        means = [normalize(features[rows["y"] == label].mean(0), dim=0) for label in range(10)]
        expected = [min(range(10), key=lambda label: float((one - means[label]).norm())) for one in queries]
        assert method.predict(x, None).argmax(1).tolist() == expected
        torch.testing.assert_close(method.means, torch.stack(means))
        assert method.network(x).argmax(1).tolist() != expected

    def test_classes_without_exemplars_are_never_predicted(self):
        """However many samples are asked for at once."""

        class Looking(ICaRL):
            def on_task_end(self, task_id):
                super().on_task_end(task_id)
                for n in (1, 20, 30, 100):
                    scores = self.predict(few_digits().x_test[:n], None)
                    assert not bool(scores.isnan().any())
                    assert bool((scores[:, ~self.teacher.known] == -torch.inf).all())
                    assert bool(torch.isfinite(scores[:, self.teacher.known]).all())

        results = run_here(small_setting("class_incremental", passes=8), Looking(buffer_size=30))
        assert results.accuracy_matrix[0][0] > 0.8

    def test_given_the_task_only_its_classes_compete(self):
        setting, method = (
            small_setting("task_incremental", stream=ClassSplit(class_order=list(range(10)))),
            ICaRL(buffer_size=30),
        )
        run_here(setting, method)
        x = setting.dataset.source.x_test
        for task, group in enumerate([{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}]):
            assert set(method.predict(x, torch.full((len(x),), task)).argmax(1).tolist()) <= group


def means():
    method = ICaRL(buffer_size=30)
    run_here(small_setting("class_incremental", workers=2), method)
    return method.means, method.buffer.all(), features_of(method.network, method.buffer.all()["x"])


def test_two_workers_share_the_means_of_all_exemplars(two_workers):
    answers = two_workers.run(means)
    (mine, _, _), (others, _, _) = answers
    assert torch.equal(mine, others)
    y, features = (torch.cat(parts) for parts in zip(*((rows["y"], f) for _, rows, f in answers), strict=True))
    for label in range(10):
        expected = normalize(normalize(features[y == label], dim=1).sum(0), dim=0)
        torch.testing.assert_close(mine[label], expected)


class TestOptions:
    def test_out_of_range(self):
        with pytest.raises(InvalidOptionError, match="--herding_candidates 0 has to be at least 1"):
            ICaRL(herding_candidates=0)

    def test_a_policy_that_goes_by_losses(self):
        with pytest.raises(InvalidOptionError, match="--buffer_policy loss_aware needs losses") as error:
            configured(ICaRL(buffer_policy="loss_aware"))
        assert one_sentence(error.value)


def test_async_is_refused_before_anything_is_trained():
    with pytest.raises(InvalidOptionError, match="--async does not go with icarl") as caught:
        ICaRL(buffer_policy="class_balanced", asynchronous=True)
    assert one_sentence(caught.value)

from collections import Counter

import pytest
import torch

from redwood.branches.federated.setting import FederatedClassIncrementalSetting
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.methods.baselines import Finetune
from redwood.settings.tree import ClassIncrementalSetting
from tests.methods.helpers import one_sentence
from tests.regression import line
from tests.samples import numbered
from tests.settings import test_incremental
from tests.small_runs import comparable, run_here

SMALL = {"dataset": numbered(n_train=600), "nb_tasks": 3, "clients": 5, "rounds": 2, "local_passes": 1}


def made(**options):
    return FederatedClassIncrementalSetting(**SMALL | options)


class TestFederatedClassIncremental(test_incremental.TestClassIncremental):
    """All that class-incremental learning promises, whichever way clients present the samples."""

    setting = FederatedClassIncrementalSetting

    def make(self, **options):
        return super().make(**{"clients": 4, "rounds": 2, "local_passes": 1} | options)

    def test_batches_tell_the_client_and_the_round(self, logs):
        (log,) = logs
        turns = [[batch.turn for batch in fitted.batches()] for fitted in log.fitted]
        assert all([turn.round for turn in own] == sorted(turn.round for turn in own) for own in turns)
        clients = {turn.client for own in turns for turn in own}
        assert clients == set(range(4))


def test_rounds_from_the_command_line():
    """The parser passes the default of `passes` on, although nobody gave it."""
    default = FederatedClassIncrementalSetting()
    given = FederatedClassIncrementalSetting(passes=default.passes, rounds=3, local_passes=2)
    assert given.passes == 6 != default.passes


class TestClients:
    def test_all_hold_as_many_samples(self):
        for clients in (2, 5, 7):
            owners = torch.cat(made(clients=clients).open_stream().client_of_samples)
            counts = owners.bincount(minlength=clients)
            assert (int(counts.sum()), int(counts.max() - counts.min()) <= 1) == (600, True)

    def classes_of_clients(self, **options):
        """How many classes each client holds a twentieth of its samples of."""
        seen: dict[int, Counter[int]] = {}
        for phase in made(rounds=1, **options).phases():
            for batch in phase.train:
                seen.setdefault(batch.turn.client, Counter()).update(batch.y.tolist())
        return [sum(n >= counts.total() / 20 for n in counts.values()) for counts in seen.values()]

    def test_skew(self):
        assert sum(self.classes_of_clients(client_skew=0.01)) <= 5 * 3
        assert min(self.classes_of_clients(client_skew=1000.0)) == 6

    def test_a_client_without_samples_of_a_task_takes_no_part(self):
        phases = list(made(client_skew=1e-3).phases())
        taking_part = [{batch.turn.client for batch in phase.train} for phase in phases]
        assert set.union(*taking_part) == set(range(5))
        assert min(map(len, taking_part)) < 5

    def test_participation(self):
        for phase in made(participation=0.4, rounds=20, client_skew=1000.0).phases():
            clients = [set() for _ in range(20)]
            for batch in phase.train:
                clients[batch.turn.round].add(batch.turn.client)
            assert {len(own) for own in clients} == {2}
            assert set.union(*clients) == set(range(5))
        assert made(participation=0.5, clients=4).clients_per_round == 2
        assert made(participation=0.29, clients=100).clients_per_round == 29

    def test_online_accuracy_and_served_samples_count_what_was_presented(self):
        results = run_here(made(participation=0.4, rounds=3, local_passes=2), Finetune())
        presented, new = 0, 0
        for phase in made(participation=0.4, rounds=3, local_passes=2).phases():
            for batch in phase.train:
                presented += len(batch.y)
                new += len(batch.y) * batch.first_pass
        assert (results.cost.training_samples, results.online_curve[-1][0]) == (presented, new)

    def test_a_method_is_told_the_options_but_not_who_holds_what(self):
        view = made().for_method()
        assert (view.clients, view.rounds, view.passes) == (5, 2, 2)
        assert view.hidden_fields() == ClassIncrementalSetting().hidden_fields()

    def test_two_workers_share_the_batches_of_each_client(self, two_workers):
        for mine, others in zip(*two_workers.run(serve), strict=True):
            assert [turn for turn, _ in mine] == [turn for turn, _ in others]
            assert all(abs(len(one) - len(other)) <= 1 for (_, one), (_, other) in zip(mine, others, strict=True))
            both = [sorted(one + other) for (_, one), (_, other) in zip(mine, others, strict=True)]
            assert all(len(set(rows)) == len(rows) for rows in both)

    def test_two_workers_train_any_method(self, two_workers):
        first, second = two_workers.run(train)
        assert comparable(first) == comparable(second)


def serve():
    """Of each phase: turn and samples of each batch."""
    return [[(batch.turn, batch.x[:, 0].tolist()) for batch in phase.train] for phase in made(client_skew=0.5).phases()]


def train():
    return run_here(made(client_skew=0.3), Finetune())


BAD = {
    "one client": ({"clients": 1}, "--clients 1 has to be at least 2"),
    "no client": ({"clients": 0}, "--clients 0 has to be at least 2"),
    "skew 0": ({"client_skew": 0.0}, "--client_skew 0.0 has to be greater than 0"),
    "negative skew": ({"client_skew": -1.0}, "--client_skew -1.0 has to be greater than 0"),
    "no number": ({"client_skew": float("nan")}, "--client_skew nan has to be greater than 0"),
    "nobody takes part": ({"participation": 0.05}, "--participation 0.05 selects nobody of --clients 5; use at least"),
    "more than all": ({"participation": 1.5}, "--participation 1.5 has to be at least 0 and at most 1"),
    "no round": ({"rounds": 0}, "--rounds 0 has to be at least 1"),
    "no local pass": ({"local_passes": 0}, "--local_passes 0 has to be at least 1"),
    "passes": ({"passes": 7}, "--passes 7 contradicts FederatedClassIncrementalSetting"),
    "learning curve": ({"eval_tasks": {"all": {"lca": 3}}}, "--eval_tasks all has no option lca; leave it out"),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_options(self, case):
        options, sentence = BAD[case]
        with pytest.raises(InvalidOptionError) as caught:
            made(**options)
        assert str(caught.value).startswith(sentence)
        assert one_sentence(caught.value)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"clients": 601}, "--clients 601 is more than the 600 training samples of numbered; use fewer."),
            ({"dataset": line()}, "targets of line are numbers; choose"),
        ],
    )
    def test_data(self, options, sentence):
        with pytest.raises(RedwoodError, match=sentence) as caught:
            made(**options).open_stream()
        assert one_sentence(caught.value)

    def test_as_many_clients_as_samples(self):
        results = run_here(made(clients=600), Finetune())
        assert results.cost.training_samples == 1200

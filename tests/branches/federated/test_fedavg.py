from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from redwood.branches.federated.fedavg import FedAvg, average
from redwood.branches.federated.fedssi import FedSSI
from redwood.core.errors import InvalidOptionError
from redwood.core.parts import Choice
from redwood.methods.baselines import Finetune
from redwood.methods.training.optimizers import OPTIMIZERS, Sgd
from tests.methods.helpers import one_sentence
from tests.power_cut import CutAt, PowerCut
from tests.small_runs import NormalisedNetwork, comparable, run_here, small_setting

KEY = "federated_class_incremental"


def trained(method, **options):
    """The weights of a method after a small run."""
    run_here(small_setting(KEY, **options), method)
    return method.network.state_dict()


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class TestAverage:
    def test_weights_count_by_samples(self):
        returned = [(0, 1, {"w": torch.tensor([1.0, 2.0])}), (3, 3, {"w": torch.tensor([5.0, -2.0])})]
        assert average(returned)["w"].tolist() == [4.0, -1.0]

    def test_one_client_comes_back_bit_for_bit(self):
        weights = torch.randn(100)
        assert torch.equal(average([(7, 13, {"w": weights})])["w"], weights)

    def test_whole_numbers_stay_whole(self):
        returned = [(0, 1, {"n": torch.tensor(4)}), (1, 2, {"n": torch.tensor(8)})]
        assert average(returned)["n"].tolist() == 7
        assert average(returned)["n"].dtype == torch.int64


class ByHand(Finetune):
    """Federated averaging as a loop of its own, on the phase that `fit` gets."""

    def fit(self, phase):
        start = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        returned, current, velocity = [], None, {}
        for batch in phase.train:
            if current != batch.turn.client:
                current, velocity = batch.turn.client, {}
                self.load(start)
            loss = torch.nn.functional.cross_entropy(self.network(batch.x), batch.y)
            self.network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for name, p in self.network.named_parameters():
                    velocity[name] = p.grad.clone() + self.optimizer.momentum * velocity.get(name, 0.0)
                    p -= self.lr * velocity[name]
            if batch.turn.ends:
                weights = {name: p.detach().clone() for name, p in self.network.named_parameters()}
                returned.append((batch.turn.n_samples, weights))
            if batch.turn.ends_round:
                total = sum(n for n, _ in returned)
                start = {name: sum(n * weights[name] for n, weights in returned) / total for name in start}
                self.load(start)
                returned, current = [], None

    def load(self, weights):
        with torch.no_grad():
            for name, p in self.network.named_parameters():
                p.copy_(weights[name])


class TestFedAvg:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("participation", [0.5, 1.0])
    def test_a_run_is_the_algorithm_of_the_paper(self, momentum, participation):
        options = {"participation": participation, "local_passes": 2}
        method, by_hand = (kind(optimizer=Sgd(momentum=momentum)) for kind in (FedAvg, ByHand))
        found, expected = trained(method, **options), trained(by_hand, **options)
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)

    def test_one_client_a_round_is_fine_tuning(self):
        options = {"participation": 0.25, "rounds": 4}
        assert_equal(trained(FedAvg(), **options), trained(Finetune(), **options))
        assert not torch.equal(*(next(iter(trained(kind()).values())) for kind in (FedAvg, Finetune)))

    def test_all_that_clients_receive_and_return_is_counted(self):
        method = FedAvg()
        trained(method, client_skew=1000.0)
        size = sum(4 * p.numel() for p in method.network.parameters())
        assert method.bytes_sent == 2 * size * (3 * 2 * 4)  # to and from; tasks, rounds, clients

    def test_buffers_of_the_network_are_averaged_too(self):
        method = FedAvg(model=NormalisedNetwork())
        state = trained(method, client_skew=1000.0)
        assert torch.isfinite(state["2.running_mean"]).all()
        assert state["2.num_batches_tracked"].dtype == torch.int64

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"optimizer_state": "keep"}, "--optimizer_state keep contradicts federated averaging"),
            ({"lr_schedule": "cosine"}, "--lr_schedule cosine follows the steps of one learner"),
        ],
    )
    def test_options_of_one_learner(self, options, sentence):
        with pytest.raises(InvalidOptionError, match=sentence) as caught:
            FedAvg(**options)
        assert one_sentence(caught.value)


@dataclass
class CutSSI(FedSSI):
    """Ends the process before a step of the second phase, if `cut` says which."""

    cut: ClassVar[int] = -1
    optimizer: Choice = OPTIMIZERS.chosen(Sgd(momentum=0.9))  # algorithm that updates the weights
    dropout: float = 0.2  # share of the hidden activations dropped in training (Mirzadeh et al., 2020)

    def callbacks(self):
        return [*super().callbacks(), CutAt(self.cut)] if self.phase.index == 1 else []


def run(cls, options, method_options, run_options=None):
    """Results, weights and state of a run on this worker."""
    method = cls(**method_options)
    results = run_here(small_setting(KEY, **options), method, **(run_options or {}))
    return comparable(results), method.network.state_dict(), method


def run_alone_and_shared(cls, options, method_options):
    content, weights, _ = run(cls, {**options, "workers": 2}, method_options)
    return content, weights


METHODS = {
    "fedavg": (FedAvg, {"optimizer": Sgd(momentum=0.9)}),
    "dropout": (FedAvg, {"dropout": 0.5, "optimizer": "adam", "lr": 0.01}),
    "fedssi": (FedSSI, {"ssi_c": 1.0}),
}


class TestWorkers:
    @pytest.mark.parametrize("case", METHODS)
    @pytest.mark.parametrize("skew", [0.1, 10.0])
    @pytest.mark.few(2)
    def test_results_on_one_and_two_workers_are_equal_bit_for_bit(self, two_workers, case, skew):
        cls, method_options = METHODS[case]
        options = {"client_skew": skew, "clients": 5, "local_passes": 2, "participation": 0.8}
        content, weights, _ = run(cls, options, method_options)
        for shared, others in two_workers.run(run_alone_and_shared, cls, options, method_options):
            assert_equal(weights, others)
            assert shared["accuracy_matrix"] == content["accuracy_matrix"]
            assert shared["cost"]["training_samples"] == content["cost"]["training_samples"]
            assert shared["online_accuracy"][-1][0] == content["online_accuracy"][-1][0]
            assert shared["metrics"]["online_accuracy"] == pytest.approx(content["metrics"]["online_accuracy"])

    def test_a_worker_without_clients(self, two_workers):
        """Client 0 alone has samples of some rounds, so worker 1 waits."""
        options = {"clients": 3, "participation": 0.34, "client_skew": 0.1}
        _, weights, _ = run(FedAvg, options, {})
        for _, others in two_workers.run(run_alone_and_shared, FedAvg, options, {}):
            assert_equal(weights, others)

    @pytest.mark.parametrize("step", [1, 3, 4])
    @pytest.mark.few(1)
    def test_two_workers_that_are_killed_inside_a_round_go_on(self, two_workers, tmp_path, step):
        resumed = two_workers.run(cut_and_resume, str(tmp_path / "run"), step)
        for (content, weights), (expected, whole) in zip(resumed, two_workers.run(run_whole), strict=True):
            assert content == expected
            assert_equal(weights, whole)


def cut_and_resume(folder, step):
    method = CutSSI()
    method.cut = step  # type: ignore[misc]
    setting = small_setting(KEY, workers=2, client_skew=10.0, batch_size=8)
    with pytest.raises(PowerCut):
        run_here(setting, method, run_dir=folder, checkpoint_every=1)
    torch.manual_seed(99)  # another process
    content, weights, _ = run(
        CutSSI,
        {"workers": 2, "client_skew": 10.0, "batch_size": 8},
        {},
        {"run_dir": folder, "resume": True, "checkpoint_every": 1},
    )
    return content, weights


def run_whole():
    content, weights, _ = run(CutSSI, {"workers": 2, "client_skew": 10.0, "batch_size": 8}, {}, {"checkpoint_every": 1})
    return content, weights

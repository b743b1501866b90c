import multiprocessing
import os
import signal
from typing import ClassVar

import pytest
import torch

from redwood.branches.modular.expert import Shard
from redwood.branches.modular.hard_moe import HardMoE
from redwood.branches.modular.side_by_side import share_out
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.methods import get_method
from redwood.settings.data.dataset import Dataset
from tests.methods.helpers import configured, one_sentence
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, comparable, run_here, small_setting

DATA = few_digits()


class Fragile(NormalisedNetwork):
    """Kills the process that trains it, unless it is the one that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.made_in = os.getpid()

    def forward(self, x):
        if self.training and os.getpid() != self.made_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


class Exploding(NormalisedNetwork):
    def forward(self, x):
        return super().forward(x) * (torch.nan if self.training else 1.0)


def given(x, y, contexts=None):
    """Samples to be trained and tested on."""
    return Dataset("given", x, y, x, y, contexts, contexts, max_value=16)


def run(method, key="class_incremental", **options):
    return comparable(run_here(small_setting(key, **options), method))


def weights(method):
    return list(method.network.state_dict().values())


@pytest.mark.parametrize(
    "options",
    [
        {"model": NormalisedNetwork(), "optimizer": "adam", "lr": 0.01, "lr_schedule": "cosine", "splits": 1},
        {"expert_models": ["mlp", "simple_cnn"], "backbone": "trained", "dropout": 0.1},
    ],
)
@pytest.mark.slow
def test_the_number_of_processes_changes_no_bit(options):
    found = []
    for processes in (1, 2):
        method = HardMoE(experts=3, expert_processes=processes, **options)
        results = run(method, nb_tasks=2)
        del results["config"]
        found.append((results, weights(method)))
    (one, mine), (two, others) = found
    assert one == two
    assert all(torch.equal(a, b) for a, b in zip(mine, others, strict=True))


def test_an_expert_learns_from_its_own_samples_alone():
    """It ends as it does where the samples of all others are of another kind."""

    def trained(changed):
        method = configured(HardMoE(experts=2, expert_processes=1))
        method.mixture.prototypes += method.mixture.backbone(DATA.x[:8])
        method.mixture.counts += 1
        shard = Shard(DATA.x, DATA.y, None)
        other = Shard(DATA.x.flip(3), DATA.y, None) if changed else shard
        method.teach({0: shard, 1: other}, None)
        return [expert.state_dict() for expert in method.mixture.experts]

    before, after = trained(changed=False), trained(changed=True)
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert not all(torch.equal(value, after[1][name]) for name, value in before[1].items())


def test_shares_are_balanced_and_complete():
    loads = [9.0, 1.0, 7.0, 3.0, 4.0]
    shares = share_out(loads, 2)
    assert sorted(number for share in shares for number in share) == [0, 1, 2, 3, 4]
    assert {sum(loads[number] for number in share) for share in shares} == {12.0}
    assert share_out([1.0], 4) == [[0]] and share_out([], 2) == []


def test_what_is_reported():
    method = HardMoE(experts=2, expert_processes=1)
    results = run_here(small_setting("class_incremental"), method)
    # Online accuracy: each sample is predicted before any of its phase is learned.
    first = results.online_curve[0][1]
    assert 0 <= first < 0.5 and results.metrics["average_accuracy"] > 0.3
    cost = results.cost
    assert cost.training_flops > 100_000_000, "the experts' steps, counted where they were trained"
    largest = max(sum(len(DATA.y[DATA.y == label]) for label in (0, 1, 2, 3)), 1)
    assert cost.buffer_bytes > 64 * largest // 2, "the samples of a phase, which are kept until it ends"
    assert method.state_dict()["aside"] == []


@pytest.mark.parametrize("splits", [0, 2])
@pytest.mark.few(1)
def test_a_stopped_run_is_resumed_from_the_phase_before(splits, tmp_path):
    class Stopping(HardMoE):
        stop: ClassVar[bool] = False

        def teach(self, *args, **options):
            if self.stop and self.phase_count == 1:
                raise KeyboardInterrupt
            return super().teach(*args, **options)

    def go(folder, stop=False, **more):
        method = Stopping(experts=2, expert_processes=1, splits=splits, backbone="trained")
        method.stop = stop
        results = run_here(small_setting("task_incremental"), method, run_dir=str(tmp_path / folder), **more)
        return comparable(results), weights(method)

    expected, mine = go("whole")
    with pytest.raises(KeyboardInterrupt):
        go("stopped", stop=True)
    found, others = go("stopped", resume=True)
    assert found == expected
    assert all(torch.equal(a, b) for a, b in zip(mine, others, strict=True))


class TestFailures:
    @pytest.fixture(autouse=True)
    def nobody_left(self, monkeypatch):
        monkeypatch.setattr("redwood.engine.processes.GRACE_S", 0.3)
        before = set(multiprocessing.active_children())
        yield
        assert set(multiprocessing.active_children()) <= before

    def test_a_killed_process_ends_the_run_in_one_sentence(self):
        with pytest.raises(RedwoodError, match="was ended by signal SIGKILL") as error:
            run(HardMoE(model=Fragile(), experts=2, expert_processes=2))
        assert one_sentence(error.value)

    @pytest.mark.parametrize("processes", [1, 2])
    def test_a_loss_that_is_no_number(self, processes):
        with pytest.raises(RedwoodError, match="Training diverged") as error:
            run(HardMoE(model=Exploding(), experts=2, expert_processes=processes))
        assert one_sentence(error.value)

    def test_a_network_that_cannot_be_sent(self):
        class Local(NormalisedNetwork):
            pass

        with pytest.raises(InvalidOptionError, match="--expert_processes takes processes of their own") as error:
            run(HardMoE(model=Local(), experts=2, expert_processes=2))
        assert one_sentence(error.value)


@pytest.mark.parametrize(
    ("method", "key", "options", "sentence"),
    [
        (HardMoE, "online_class_incremental", {}, "where one pass allows none"),
        (HardMoE, "class_incremental", {"workers": 2}, "use --workers 1"),
        (get_method("lwf+hard_moe"), "class_incremental", {}, "without what LwF adds"),
    ],
)
def test_where_experts_cannot_be_trained_apart(method, key, options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        configured(method(expert_processes=2), key, **options)
    assert str(error.value).startswith("--expert_processes 2") and one_sentence(error.value)


class TestExtremes:
    """Both ways of training."""

    @pytest.fixture(params=[0, 1])
    def options(self, request):
        return {"experts": 3, "expert_processes": request.param}

    @pytest.mark.parametrize("more", [{}, {"splits": 2}, {"backbone": "trained"}, {"min_load": 0.1}])
    @pytest.mark.few(2)
    def test_one_sample_in_each_phase(self, options, more):
        rows = torch.tensor([int((DATA.y == label).nonzero()[0]) for label in range(3)])
        method = HardMoE(**options, **more)
        run(method, dataset=given(DATA.x[rows], DATA.y[rows]), passes=20)
        assert (method.predict(DATA.x[rows], None).argmax(1) == DATA.y[rows]).all()

    def test_all_samples_alike(self, options):
        method = HardMoE(**options)
        run(method, dataset=given(DATA.x[:1].expand(40, -1, -1, -1).clone(), torch.arange(40) % 10))
        assert int((method.mixture.counts > 0).sum()) == 3, "one prototype a phase"

    def test_batches_of_one_and_batch_normalisation(self, options):
        run(HardMoE(model=NormalisedNetwork(), lr=0.001, **options), batch_size=1, passes=1)

    def test_a_task_that_comes_back(self, options):
        contexts = (torch.arange(len(DATA.y)) >= len(DATA.y) // 2).long()
        method = HardMoE(**options)
        run(method, dataset=given(DATA.x, DATA.y, contexts), stream="contexts", nb_tasks=None)
        assert method.tasks_of == [[0]] * 3 + [[1]] * 3

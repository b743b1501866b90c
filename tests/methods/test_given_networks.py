"""A module given from Python is a starting point: every run trains a copy of it."""

import pytest
import torch
from torch import nn

from redwood.branches.modular.hard_moe import HardMoE
from redwood.branches.streaming.slda import SLDA
from redwood.core.errors import InvalidOptionError
from redwood.engine.run import Run
from redwood.methods import compose, get_method
from redwood.methods.architecture.hat import HAT
from redwood.methods.architecture.pnn import PNN
from redwood.methods.baselines import Finetune, Joint
from redwood.methods.networks.row import layers_of
from redwood.methods.regularisation.ewc import EWC
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import configured, move
from tests.small_runs import OPTIONS, comparable, run_here, small_setting


class Tokens(nn.Module):
    """What `reset_parameters` does not reach, and state that changes in training."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.token = nn.Parameter(torch.randn(64))
        self.norm = nn.BatchNorm1d(64)
        self.head = nn.Linear(64, 10)
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.head(self.norm(x.flatten(1).float() + self.token))


def row(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), Floats(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


class Floats(nn.Flatten):
    """Makes numbers of bytes, as a part that may stand in a row."""

    def forward(self, x):
        return super().forward(x.float())


def values(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


METHODS = {
    "finetune": (Finetune, Tokens, "class_incremental"),
    "rehearsal": (Rehearsal, Tokens, "class_incremental"),
    "ewc+rehearsal": (compose(EWC, Rehearsal), Tokens, "class_incremental"),
    "joint": (Joint, Tokens, "cumulative"),
    "gdumb": (get_method("gdumb"), Tokens, "class_incremental"),
    "icarl": (get_method("icarl"), Tokens, "class_incremental"),
    "lwf": (get_method("lwf"), Tokens, "task_incremental"),
    "packnet": (get_method("packnet"), row, "task_incremental"),
    "hard_moe": (HardMoE, Tokens, "class_incremental"),
    "pnn": (PNN, row, "task_incremental"),
    "finetune_from": (get_method("finetune_from"), Tokens, "task_incremental"),
    "mntdp": (get_method("mntdp"), row, "task_incremental"),
    "hat": (HAT, row, "task_incremental"),
    "c_ada": (get_method("c_ada"), Tokens, "class_incremental"),
    "widen": (get_method("widen"), row, "class_incremental"),
    "dtp": (get_method("dtp"), row, "class_incremental"),
}


QUICK = ("finetune", "joint", "pnn", "hard_moe", "mntdp")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in METHODS])
def test_it_stays_as_it_was_given_and_each_run_starts_from_it(name):
    cls, make, key = METHODS[name]
    network = make()
    before, flags = values(network), [p.requires_grad for p in network.parameters()]
    dropout = 0.1 if make is row and name != "dtp" else 0.0
    method = cls(model=network, dropout=dropout, **OPTIONS.get(name, {}))
    setting = small_setting(key, passes=2 if name in ("finetune_from", "mntdp") else 1)
    first = run_here(setting, method)
    assert same(values(network), before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert not any(part._forward_hooks for part in network.modules())
    assert all(p.grad is None for p in network.parameters())
    assert method.network is not network and method.model.module is network
    assert not {id(p) for p in network.parameters()} & {id(p) for p in method.network.parameters()}
    assert comparable(run_here(setting, method)) == comparable(first)


def test_one_network_for_two_methods():
    network, setting = Tokens(), small_setting("class_incremental")
    run_here(setting, Rehearsal(model=network))
    second = run_here(setting, Finetune(model=network))
    assert comparable(second) == comparable(run_here(setting, Finetune(model=Tokens())))


def test_a_backbone_is_copied():
    network = nn.Sequential(nn.Flatten(), Floats(), nn.Linear(64, 8))
    run_here(small_setting("online_class_incremental"), SLDA(backbone=network))
    assert all(p.requires_grad for p in network.parameters()) and network.training


def test_new_weights_are_those_that_were_given():
    network = Tokens()
    method = configured(Joint(model=network), "cumulative")
    move(method)
    method.network.train()
    method.network(torch.ones(4, 1, 8, 8))
    assert not torch.equal(method.network.token, network.token) and method.network.calls == 1
    method.reset_network()
    assert same(values(method.network), values(network))
    assert method.network.calls == 0


def test_weights_drawn_by_a_lazy_network_follow_from_the_seed():
    method = configured(Joint(model=nn.Sequential(nn.Flatten(), Floats(), nn.LazyLinear(10))), "cumulative")
    first = values(method.network)
    method.reset_network()
    again = values(method.network)
    assert not same(first, again) and method.state_dict()["initial"] is None
    method.reset_network()
    assert same(values(method.network), again)


def test_columns_of_a_progressive_network_start_alike():
    network = row()
    network[2].bias.requires_grad_(False)
    method = configured(PNN(model=network, dropout=0.5), "task_incremental")
    move(method)
    method._grow(2)
    last = layers_of(method.network.columns[1])
    assert torch.equal(last[0].weight, network[2].weight) and last[0].weight.requires_grad
    assert not last[0].bias.requires_grad  # frozen as it was given
    assert len(method.network.columns[1][3]._forward_hooks) == 1


class Stopped(Exception):
    """Stands for a kill."""


def test_a_resumed_run_goes_back_to_what_it_started_from(tmp_path, monkeypatch):
    """Even if the module given this time has other weights: these are not the run's."""
    setting = small_setting("cumulative", passes=1)
    expected = run_here(setting, Joint(model=Tokens(0)))
    fit = Joint.fit

    def stop(self, phase):
        if phase.index == 1:
            raise Stopped
        fit(self, phase)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Joint, "fit", stop)
        run_here(setting, Joint(model=Tokens(0)), run_dir=str(tmp_path / "run"))
    resumed = run_here(setting, Joint(model=Tokens(1)), run_dir=str(tmp_path / "run"), resume=True)
    assert resumed.accuracy_matrix == expected.accuracy_matrix
    assert resumed.online_curve == expected.online_curve


def test_the_state_at_the_start_takes_no_memory_of_its_own():
    network = Tokens()
    kept = configured(Joint(model=network), "cumulative").state_dict()["initial"]
    assert kept["token"].data_ptr() == network.token.data_ptr()
    assert configured(Joint(), "cumulative").state_dict()["initial"] is None


def test_what_cannot_be_copied_is_refused():
    network = Tokens()
    network.noise = network.token * 2  # not a leaf of the graph
    method = Finetune(model=network)
    method.attach(Run(accelerator="cpu"))
    with pytest.raises(InvalidOptionError, match=r"The network Tokens cannot be copied \(.*\), and every run trains"):
        method.configure(small_setting("class_incremental").for_method())


@pytest.mark.slow
def test_spawned_workers_train_copies_too():
    network, setting = row(), small_setting("class_incremental", workers=2, passes=1)
    before, method = values(network), Finetune(model=network)
    first, second = (setting.apply(method, quiet=True, accelerator="cpu") for _ in range(2))
    assert same(values(network), before)
    assert comparable(first) == comparable(second)
    assert not same(values(method.network), before)

import pytest
import torch
from torch import nn

from redwood.core.errors import InvalidOptionError
from redwood.methods.architecture.masked_update import FREE
from redwood.methods.architecture.packnet import PackNet
from redwood.methods.networks.parts import Network
from tests.methods.helpers import configured
from tests.methods.rows import N_TASKS, RESIDUAL, forgets, watched
from tests.small_runs import NormalisedNetwork


def shares(n_entries, prune_share, num_tasks):
    """How many of a layer's weights each task keeps, and how many are free at the end."""
    kept = []
    for _ in range(num_tasks):
        pruned = int(prune_share * n_entries)
        kept.append(n_entries - pruned)
        n_entries = pruned
    return kept, n_entries


class TestPruning:
    @pytest.mark.parametrize("prune_share", [0.0, 0.5, 0.75])
    def test_each_task_keeps_an_exact_share_of_what_was_free(self, prune_share):
        method = watched(PackNet, prune_share=prune_share, setting={"passes": 1})
        assert len(method.owner) == 2
        for name, owner in method.owner.items():
            kept, free = shares(owner.numel(), prune_share, N_TASKS)
            assert [int((owner == task + 1).sum()) for task in range(N_TASKS)] == kept
            assert int((owner == FREE).sum()) == free
            assert not bool(method.network.get_parameter(name)[owner == FREE].any())
        assert not forgets(method)

    def test_the_largest_are_kept(self):
        method = configured(PackNet(prune_share=0.6), "task_incremental")
        before = {name: method.network.get_parameter(name).detach().abs().clone() for name in method.owner}
        method.prune()
        for name, owner in method.owner.items():
            assert float(before[name][owner == 1].min()) >= float(before[name][owner == FREE].max())

    def test_only_free_weights_are_pruned(self):
        method = configured(PackNet(), "task_incremental")
        method.prune()
        first = {name: method.network.get_parameter(name).detach().clone() for name in method.owner}
        with torch.no_grad():
            for name, owner in method.owner.items():
                method.network.get_parameter(name)[owner == FREE] += 5  # larger than all that were kept
        method.phase_count = 1
        method.prune()
        for name, owner in method.owner.items():
            own = owner == 1
            assert torch.equal(method.network.get_parameter(name)[own], first[name][own]) and bool(own.any())

    @pytest.mark.parametrize(("batch_size", "passes", "retrain_share"), [(16, 2, 0.33), (16, 1, 0.0), (1000, 1, 0.33)])
    def test_the_last_steps_come_after_it(self, batch_size, passes, retrain_share):
        class Noting(PackNet):
            at = ()

            def prune(self):
                super().prune()
                trainer = self.module.trainer
                self.at = (*self.at, (trainer.global_step, trainer.estimated_stepping_batches, self.phase.steps))

        method = watched(Noting, setting={"batch_size": batch_size, "passes": passes}, retrain_share=retrain_share)
        assert len(method.at) == N_TASKS
        for step, expected, steps in method.at:
            assert expected == steps
            assert step == steps - int(retrain_share * steps) and step >= 1


class TestCapacity:
    def test_without_any_free_weight_a_task_trains_its_own_head_and_biases(self):
        method = watched(PackNet, prune_share=0.0, setting={"passes": 1})
        first, last = method.own_values[0], method.own_values[-1]
        assert set(first) == {"features.1.bias", "features.3.bias", "head.weight", "head.bias"}
        assert not any(torch.equal(first[name], last[name]) for name in first)

    def test_each_task_has_normalisation_of_its_own(self):
        torch.manual_seed(0)
        method = watched(PackNet, model=NormalisedNetwork(), prune_share=0.5, setting={"passes": 1})
        assert not forgets(method)
        first, last = method.own_values[0], method.own_values[-1]
        assert not torch.equal(first["2.running_mean"], last["2.running_mean"])

    @pytest.mark.parametrize("model", [pytest.param(name, marks=slow) for name, slow in RESIDUAL.items()])
    def test_residual_networks(self, model):
        method = watched(PackNet, model=model, setting={"passes": 1})
        assert not forgets(method)
        assert any("downsample" in name or "shortcut" in name for name in method.owner)

    @pytest.mark.parametrize("trainable", ["last_block", "lora"])
    @pytest.mark.few(1)
    def test_what_is_frozen_from_the_start_belongs_to_no_task(self, trainable):
        method = watched(PackNet, model=Network("slim_resnet18", trainable=trainable), setting={"passes": 1})
        assert not forgets(method)
        learned = {name for name, p in method.network.named_parameters() if p.requires_grad}
        matrices = {name for name in learned if method.network.get_parameter(name).dim() > 1}
        assert set(method.owner) == matrices - {"head.weight"}
        assert not [name for name in method.own_values[0] if name.endswith("weight") and name not in learned]

    def test_weights_that_are_not_trained_are_left_alone(self):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), Floats(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 10))
        network[2].requires_grad_(False)
        before = network[2].weight.clone()
        method = watched(PackNet, model=network, setting={"passes": 1})
        assert set(method.owner) == {"4.weight"}
        assert torch.equal(network[2].weight, before)


class Floats(nn.Module):
    def forward(self, x):
        return x.float()


@pytest.mark.parametrize("options", [{"prune_share": 1.0}, {"prune_share": -0.1}, {"retrain_share": 1.0}])
def test_values_out_of_range(options):
    with pytest.raises(InvalidOptionError, match=rf"--{next(iter(options))} .* has to be at least 0 and at most 0.99"):
        PackNet(**options)

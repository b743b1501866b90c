from copy import deepcopy
from statistics import mean

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from redwood.branches.modular.hard_moe import HardMoE
from redwood.branches.modular.mixture import HardMixture
from redwood.core.errors import InvalidOptionError
from redwood.methods.baselines import Finetune
from redwood.methods.networks.backbone import make_backbone
from redwood.methods.training.optimizers import Sgd
from redwood.settings import get_setting
from tests.methods.helpers import batch_of, configured, one_sentence, step_of
from tests.samples import few_digits
from tests.small_runs import NormalisedNetwork, run_here, small_setting

X, UNSEEN = few_digits().x, few_digits().x_test


class Watched(HardMoE):
    """Notes after each phase the state of all experts and the gate."""

    def fit(self, phase):
        super().fit(phase)
        mixture = self.mixture
        gate = {name: getattr(mixture, name).clone() for name in ("prototypes", "counts", "owner")}
        note = ([deepcopy(expert.state_dict()) for expert in mixture.experts], gate)
        self.notes = [*getattr(self, "notes", []), note]


class Tiny(nn.Sequential):
    """Three hidden units: too few for ten digits."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float() / 8 - 1)


def mixture_of(n_experts, owned):
    """Experts that differ, and prototypes at random samples."""
    torch.manual_seed(0)
    space = small_setting("class_incremental").observation_space
    mixture = HardMixture(make_backbone("identity", "", space, seed=0))
    mixture.grow([Tiny() for _ in range(n_experts)], owned)
    mixture.prototypes += mixture.backbone(X[: len(mixture.owner)])
    mixture.counts += torch.arange(1, len(mixture.owner) + 1)
    return mixture.eval()


class TestGate:
    def test_each_sample_is_answered_by_the_expert_of_the_nearest_prototype(self):
        mixture = mixture_of(3, [2, 1, 3])
        scores = mixture(UNSEEN)
        features = mixture.backbone(UNSEEN)
        for row, (sample, one) in enumerate(zip(UNSEEN, features, strict=True)):
            nearest = min(range(6), key=lambda i: float((one - mixture.prototypes[i]).norm()))
            expert = [0, 0, 1, 2, 2, 2][nearest]
            assert int(mixture.choice[row]) == expert
            torch.testing.assert_close(scores[row], mixture.experts[expert](sample[None])[0])
        assert len(mixture.choice.unique()) == 3

    def test_in_training_frozen_experts_are_left_out(self):
        mixture = mixture_of(3, [2, 1, 3])
        mixture.n_frozen = 2
        mixture.train()(UNSEEN)
        assert mixture.choice.unique().tolist() == [2]

    def test_prototypes_are_placed_by_k_means_and_shared_out_by_its_clusters(self):
        mixture = mixture_of(3, [2, 2, 2])
        features = mixture.backbone(X)
        mixture.place(features, seed=4)
        labels = torch.from_numpy(KMeans(3, n_init=4, random_state=4).fit(features.double().numpy()).labels_)
        chosen = mixture.nearest(features)
        for number in range(3):
            cell = features[labels == number]
            rows = mixture.owner == number
            weighted = (mixture.prototypes[rows] * mixture.counts[rows, None]).sum(0)
            torch.testing.assert_close(weighted, cell.sum(0), rtol=1e-4, atol=1e-3)
            assert int(mixture.counts[rows].sum()) == len(cell)
        assert (mixture.owner[chosen] == labels).float().mean() > 0.9

    def test_a_prototype_moves_to_the_mean_of_all_that_came_near_it(self):
        mixture = mixture_of(2, [1, 1])
        mixture.counts.fill_(1)
        members = [[mixture.prototypes[0].clone()], [mixture.prototypes[1].clone()]]
        for batch in mixture.backbone(X).split(16):
            for one, number in zip(batch, mixture.nearest(batch).tolist(), strict=True):
                members[number].append(one)
            mixture.move(batch)
        for number, part in enumerate(members):
            torch.testing.assert_close(mixture.prototypes[number], torch.stack(part).mean(0), rtol=1e-4, atol=1e-4)
            assert int(mixture.counts[number]) == len(part)

    def test_with_task_ids_only_experts_of_the_task_answer(self):
        method = HardMoE()
        run_here(small_setting("task_incremental"), method)
        for task in range(3):
            method.predict(UNSEEN, torch.full((len(UNSEEN),), task))
            assert method.mixture.choice.unique().tolist() == [task]
        method.predict(UNSEEN, torch.full((len(UNSEEN),), 7))
        assert method.mixture.choice.unique().tolist() == [0, 1, 2]


class TestSplit:
    def test_no_answer_changes(self):
        mixture = mixture_of(3, [3, 4, 0])
        before = mixture(UNSEEN).detach()
        mixture.split(parent=1, spare=2, seed=0)
        assert torch.equal(mixture(UNSEEN), before)
        owners = mixture.owner.tolist()
        assert owners[:3] == [0, 0, 0] and set(owners[3:]) == {1, 2}, "only the parent gives up some of its own"
        assert set(mixture.choice.tolist()) == {0, 1, 2}
        for mine, others in zip(mixture.experts[1].parameters(), mixture.experts[2].parameters(), strict=True):
            assert torch.equal(mine, others) and mine is not others

    def test_halves_are_two_means_of_the_prototypes(self):
        mixture = mixture_of(2, [6, 0])
        mixture.split(parent=0, spare=1, seed=0)
        found = KMeans(2, n_init=4, random_state=0)
        found.fit(mixture.prototypes.double().numpy(), sample_weight=mixture.counts.double().numpy())
        same = [int(owner == label) for owner, label in zip(mixture.owner.tolist(), found.labels_, strict=True)]
        assert sum(same) in (0, 6)

    def test_it_takes_two_different_prototypes_in_use(self):
        mixture = mixture_of(4, [1, 2, 2, 2])
        mixture.counts[1] = 0
        mixture.prototypes[3] = mixture.prototypes[4]
        assert mixture.can_split().tolist() == [False, False, False, True]

    def test_in_a_run_they_come_evenly_spaced_and_the_halves_part(self):
        method = Watched(experts=1, splits=2, split_below=1.0, gate_samples=32)
        run_here(small_setting("traditional"), method)
        assert set(method.mixture.owner.tolist()) == {0, 1, 2}
        weights = [next(expert.parameters()) for expert in method.mixture.experts]
        assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])

    def test_the_expert_with_the_most_errors_is_split_if_it_underfits(self):
        method = configured(HardMoE(experts=3, splits=1))
        method.mixture.prototypes[:12] += method.mixture.backbone(X[:12])
        method.mixture.counts += 1
        method.n_shown, method.n_wrong = torch.tensor([500.0, 100, 10, 0]), torch.tensor([45.0, 15, 9, 0])
        method._check_fit()
        # The first one makes the most errors, but gets 91 % right; the third one has too few samples.
        owners = method.mixture.owner.tolist()
        assert owners[:4] == [0] * 4 and set(owners[4:8]) == {1, 3} and owners[8:] == [2] * 4
        assert not method.n_wrong.any(), "errors are counted anew"

    def test_experts_that_fit_are_left_whole_and_spare_ones_go(self):
        method = HardMoE(experts=2, splits=3, split_below=0.0)
        run_here(small_setting("class_incremental"), method)
        assert len(method.mixture.experts) == 6 == len(method.tasks_of) == len(method.architectures)

    def test_both_halves_have_the_architecture_of_the_whole(self):
        method = HardMoE(experts=2, splits=2, split_below=1.0, gate_samples=32, expert_models=["mlp", "simple_cnn"])
        run_here(small_setting("traditional"), method)
        assert len(method.architectures) == 4
        for expert, number in zip(method.mixture.experts, method.architectures, strict=True):
            assert any(isinstance(part, nn.Conv2d) for part in expert.modules()) == (number == 1)


class TestLoad:
    def test_new_experts_that_few_samples_go_to_are_removed(self):
        method = Watched(experts=4, min_load=0.2)
        run_here(small_setting("class_incremental"), method)
        loads = method.mixture.loads()
        for task in range(3):
            own = loads[torch.tensor([tasks == [task] for tasks in method.tasks_of])]
            assert (own >= 0.2 * own.sum()).all()
        assert 3 <= len(loads) < 12

    def test_the_busiest_one_stays(self):
        method = HardMoE(experts=4, min_load=1.0)
        run_here(small_setting("class_incremental"), method)
        assert method.tasks_of == [[0], [1], [2]]


class TestLaterTasks:
    @pytest.mark.parametrize("model", ["auto", NormalisedNetwork()])
    def test_they_leave_experts_and_prototypes_as_they_are(self, model):
        method = Watched(model=model, experts=2, optimizer=Sgd(weight_decay=0.1))
        run_here(small_setting("class_incremental"), method)
        assert [len(experts) for experts, _ in method.notes] == [2, 4, 6]
        for experts, gate in method.notes[:-1]:
            for then, now in zip(experts, method.mixture.experts, strict=False):
                assert all(torch.equal(value, then[name]) for name, value in now.state_dict().items())
            for name, then in gate.items():
                assert torch.equal(getattr(method.mixture, name)[: len(then)], then)

    def test_nothing_of_a_sample_is_kept(self):
        method = HardMoE()
        results = run_here(small_setting("class_incremental"), method)
        assert method.state_dict()["aside"] == [] and method.most_aside > 0
        assert results.cost.buffer_bytes < 3 * 4 * (64 * 4 + 4 + 8) + 64 * 64 * 4, "prototypes, and some features once"

    def test_features_are_trained_in_the_first_phase_only(self):
        class Noting(Watched):
            def fit(self, phase):
                super().fit(phase)
                self.noted = [*getattr(self, "noted", []), deepcopy(self.mixture.backbone.state_dict())]

        method = Noting(backbone="trained")
        start = configured(HardMoE(backbone="trained")).mixture.backbone.state_dict()
        run_here(small_setting("class_incremental"), method)
        first, *later = method.noted
        assert not all(torch.equal(value, start[name]) for name, value in first.items())
        assert all(torch.equal(value, state[name]) for state in later for name, value in first.items())
        assert method.mixture.prototypes.shape[1] == 256


def test_each_expert_learns_as_from_a_batch_of_its_own():
    method = configured(HardMoE(experts=3, prototypes=1))
    method.mixture.prototypes += method.mixture.backbone(X[:3])
    method.mixture.counts += 1
    method._guide = lambda x: None
    batch = batch_of(0, 32)
    plain = nn.functional.cross_entropy(method.network(batch.x), batch.y, reduction="none")
    choice = method.mixture.choice
    expected = sum(plain[choice == number].mean() for number in choice.unique())
    assert len(choice.unique()) > 1
    torch.testing.assert_close(method.losses(step_of(batch)).mean(), expected)


def test_all_experts_start_from_the_first_when_the_gate_is_placed():
    class Noting(HardMoE):
        def _place(self, features):
            super()._place(features)
            self.starts = [deepcopy(expert.state_dict()) for expert in self.mixture.experts]

    method = Noting(experts=3, gate_samples=32)
    run_here(small_setting("traditional"), method)
    first, *others = method.starts
    assert all(torch.equal(value, state[name]) for state in others for name, value in first.items())
    weights = [next(expert.parameters()) for expert in method.mixture.experts]
    assert not torch.equal(weights[0], weights[1])


def shared():
    method = HardMoE(experts=3, splits=1)
    run_here(small_setting("class_incremental", workers=2, batch_size=8), method)
    return method.network.state_dict()


@pytest.mark.slow
def test_two_workers_hold_the_same_experts_and_gate(two_workers):
    mine, others = two_workers.run(shared)
    assert all(torch.equal(value, others[name]) for name, value in mine.items())
    assert float(mine["counts"].sum()) == 160, "each sample has moved a prototype, whoever has read it"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prototypes": 1, "splits": 1}, "--splits 1 needs experts with at least 2 --prototypes"),
        ({"optimizer_state": "keep"}, "--optimizer_state keep means nothing to new experts"),
        ({"split_below": 1.5}, "--split_below 1.5 has to be at least 0 and at most 1"),
        ({"expert_models": ["mlp"], "model": "mlp"}, "--expert_models names the networks of all experts"),
        ({"gate_samples": 0}, "--gate_samples 0 has to be at least 1"),
        ({"backbone": "trained", "backbone_weights": "weights.pth"}, "--backbone_weights is for a network given"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        configured(HardMoE(**options))
    assert one_sentence(error.value)


def accuracy(key, method, seed, **options):
    setting = get_setting(key)(seed=seed, **options)
    return setting.apply(method, quiet=True, accelerator="cpu").metrics["average_accuracy"]


def test_tasks_are_kept_apart_without_stored_samples():
    mine, plain = (accuracy("class_incremental", kind(), seed=0, passes=3) for kind in (HardMoE, Finetune))
    assert mine >= plain + 0.4


@pytest.mark.slow
def test_experts_help_where_one_network_is_too_small():
    def figures(**experts):
        found = []
        for seed in range(3):
            torch.manual_seed(seed)
            method = HardMoE(model=Tiny(), **experts) if experts else Finetune(model=Tiny())
            found.append(accuracy("traditional", method, seed, nb_tasks=1))
        return mean(found)

    assert figures(experts=8) >= figures() + 0.05

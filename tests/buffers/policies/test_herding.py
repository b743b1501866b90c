import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from redwood.buffers import Herding, RehearsalBuffer, herd
from tests.buffers.helpers import features_of


def random_features(n: int, d: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def brute_force(features: Tensor, k: int) -> list[int]:
    """iCaRL's algorithm 4 as it is written: try each sample that is left."""
    mean, chosen = features.mean(0), list[int]()
    for _ in range(k):
        left = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(left, key=lambda i: float((mean - features[[*chosen, i]].mean(0)).norm())))
    return chosen


def add(buffer: RehearsalBuffer, name: int, features: Tensor) -> None:
    n, first = len(features), buffer.n_seen
    buffer.add({"id": torch.arange(first, first + n), "y": torch.full((n,), name)}, features=features)


def exemplars(buffer: RehearsalBuffer, name: int) -> list[int]:
    """Numbers of the samples of a class, the most important one first."""
    assert isinstance(buffer.policy, Herding)
    ids: list[int] = buffer.read(torch.tensor(buffer.policy.exemplars[name]))["id"].tolist()
    return ids


class TestHerd:
    @pytest.mark.parametrize(("n", "d", "k"), [(1, 3, 1), (12, 2, 12), (40, 8, 15), (60, 30, 20)])
    @pytest.mark.parametrize("seed", range(3))
    def test_equals_brute_force(self, n: int, d: int, k: int, seed: int) -> None:
        features = random_features(n, d, seed).double()
        chosen = herd(features, features.mean(0), k).tolist()
        assert chosen == brute_force(features, k)
        assert len(set(chosen)) == k

    def test_fewer_are_the_first_of_more(self) -> None:
        features = random_features(30, 5, 0)
        order = herd(features, features.mean(0), 30).tolist()
        assert herd(features, features.mean(0), 7).tolist() == order[:7]
        assert sorted(order) == list(range(30))

    def test_it_is_nearer_to_the_mean_than_chance(self) -> None:
        features = random_features(200, 10, 1)
        mean = features.mean(0)
        herded = (features[herd(features, mean, 10)].mean(0) - mean).norm()
        random = [(features[i * 10 : i * 10 + 10].mean(0) - mean).norm() for i in range(20)]
        assert herded < 0.5 * min(random)


class TestPolicy:
    def test_classes_offered_at_once_give_the_construction_of_icarl(self) -> None:
        buffer = RehearsalBuffer(20, policy=Herding())
        classes = [3 * random_features(30, 6, seed) for seed in range(4)]
        for name, features in enumerate(classes):
            add(buffer, name, features)
            share = 20 // (name + 1)
            for other in range(name + 1):
                wanted = [other * 30 + i for i in brute_force(normalize(classes[other], dim=1), 20)]
                got = exemplars(buffer, other)
                assert len(got) in (share, share + 1)
                assert got == wanted[: len(got)]

    def test_a_class_gives_up_its_last_exemplars(self) -> None:
        buffer = RehearsalBuffer(20, policy=Herding())
        add(buffer, 0, random_features(50, 6, 0))
        first = exemplars(buffer, 0)
        for name in range(1, 5):
            add(buffer, name, random_features(50, 6, name))
            assert exemplars(buffer, 0) == first[: len(exemplars(buffer, 0))]
        assert len(exemplars(buffer, 0)) == 4

    def test_features_are_normalised(self) -> None:
        one, other = RehearsalBuffer(6, policy=Herding()), RehearsalBuffer(6, policy=Herding())
        features = random_features(40, 5, 0)
        add(one, 0, features)
        add(other, 0, features * (torch.arange(40) + 1)[:, None])
        assert exemplars(one, 0) == exemplars(other, 0)

    def test_batch_by_batch_exemplars_stay_near_the_mean_of_all(self) -> None:
        buffer = RehearsalBuffer(10, policy=Herding())
        features = random_features(300, 8, 0)
        for first in range(0, 300, 25):
            add(buffer, 0, features[first : first + 25])
            mean = features[: first + 25].mean(0)
            chance = (features[torch.arange(0, first + 25, (first + 25) // 10)].mean(0) - mean).norm()
            assert (features[exemplars(buffer, 0)].mean(0) - mean).norm() < chance
        assert len(set(exemplars(buffer, 0))) == 10

    def test_the_first_are_the_ones_of_a_buffer_with_room(self) -> None:
        buffer = RehearsalBuffer(50, policy=Herding())
        ids = torch.arange(30)
        buffer.add({"id": ids, "y": ids % 3}, features=features_of(ids))
        for name in range(3):
            own = normalize(features_of(ids[name::3]), dim=1)
            assert exemplars(buffer, name) == [3 * i + name for i in brute_force(own, 10)]

import torch
from torch import Tensor
from torch.nn.functional import normalize

from redwood.buffers import Grasp, RehearsalBuffer, Ring
from tests.buffers.helpers import feed
from tests.buffers.statistics import ALPHA, share_p_value

N = 60


def blobs(seed: int = 0) -> Tensor:
    """Features (N, 5) around two centres, some near and some far from them."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.eye(5)[torch.arange(N) % 2]
    spread = torch.rand(N, 1, generator=generator) * 2
    return centres + spread * torch.randn(N, 5, generator=generator)


def grasp_buffer(seed: int = 0) -> RehearsalBuffer:
    buffer = RehearsalBuffer(N, policy=Ring(), sampler=Grasp(), seed=seed)
    feed(buffer, torch.arange(N) % 2)
    buffer.refresh(blobs())
    return buffer


def distances(buffer: RehearsalBuffer) -> Tensor:
    assert isinstance(buffer.sampler, Grasp)
    return buffer.sampler.distances


def test_distances_are_cosine_distances_to_the_mean_of_the_class() -> None:
    buffer, unit = grasp_buffer(), normalize(blobs().double(), dim=1)
    for name in range(2):
        own = torch.arange(N) % 2 == name
        mean = unit[own].mean(0)
        wanted = 1 - unit[own] @ mean / mean.norm()
        assert torch.allclose(distances(buffer)[own], wanted)


def test_a_drawn_row_is_never_likelier_than_one_that_was_not_drawn() -> None:
    buffer = grasp_buffer()
    drawn: set[int] = set()
    while len(drawn) < N // 2:
        drawn |= set(buffer.draw(5).tolist())
        for name in range(2):
            own = set(range(name, N, 2))
            taken, left = (distances(buffer)[sorted(rows)] for rows in (own & drawn, own - drawn))
            if len(taken) and len(left):
                assert taken.min() >= left.max()


def test_far_rows_come_later() -> None:
    early, late = [], []
    for seed in range(25):
        buffer = grasp_buffer(seed)
        original = distances(buffer).clone()
        picks = [original[buffer.draw(8)].mean() for _ in range(6)]
        early.append(picks[0])
        late.append(picks[5])
    assert torch.stack(late).mean() > 2 * torch.stack(early).mean()


def test_the_first_pick_is_inversely_proportional_to_the_distance() -> None:
    counts, wanted = torch.zeros(N), 1 / (distances(grasp_buffer()) + 1e-7)
    for seed in range(1000):
        counts[grasp_buffer_draw(seed)] += 1
    for name in range(2):
        near = wanted[name::2].topk(8).indices * 2 + name
        assert share_p_value(counts[near], wanted[near]) > ALPHA


def grasp_buffer_draw(seed: int) -> Tensor:
    """The first pick of each class, with the distances of `grasp_buffer`."""
    sampler = Grasp()
    sampler.bind(seed)
    sampler.on_stored(torch.arange(N), torch.arange(N) % 2, None)
    sampler.refresh(blobs())
    return sampler.draw(2, 0, N)


def test_new_rows_count_as_typical_and_new_features_start_anew() -> None:
    buffer = grasp_buffer()
    before = distances(buffer).clone()
    buffer.draw(10)
    assert not torch.equal(distances(buffer), before)
    buffer.refresh(blobs())
    assert torch.equal(distances(buffer), before)
    feed(buffer, torch.tensor([0, 1]), start=N)
    assert (distances(buffer) == 0).sum() == 2
    buffer.draw(N)
    buffer.refresh(blobs(1))
    assert len(distances(buffer)) == N


def test_classes_are_balanced() -> None:
    buffer = grasp_buffer()
    for n in (2, 7, 20):
        counts = buffer.read(buffer.draw(n))["y"].bincount(minlength=2)
        assert abs(int(counts[0] - counts[1])) == n % 2

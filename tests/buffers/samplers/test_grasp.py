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


def weights(buffer: RehearsalBuffer, name: int) -> Tensor:
    """How likely each row (N,) of a class is to come next; 0 for rows of the other class."""
    assert isinstance(buffer.sampler, Grasp)
    slots, found = torch.arange(name, N, 2), torch.zeros(N, dtype=torch.float64)
    found[slots] = buffer.sampler.weights(slots)
    return found


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
            taken, left = (weights(buffer, name)[sorted(rows)] for rows in (own & drawn, own - drawn))
            if len(taken) and len(left):
                assert taken.max() <= left.min()


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


def test_thousands_of_draws_without_new_features_stay_distinct_bounded_and_fair() -> None:
    buffer = grasp_buffer()
    before, counts = distances(buffer).clone(), torch.zeros(N)
    for _ in range(5000):
        picks = buffer.draw(8)
        assert len(set(picks.tolist())) == 8
        counts[picks] += 1
    assert torch.equal(distances(buffer), before)
    assert isinstance(buffer.sampler, Grasp)
    assert int(buffer.sampler.rounds.max()) < 20
    wanted = 5000 * 8 / N
    assert bool((abs(counts - wanted) < wanted / 4).all())


def test_refresh_starts_anew() -> None:
    buffer = grasp_buffer()
    before = [weights(buffer, name) for name in range(2)]
    buffer.draw(10)
    assert not all(torch.equal(weights(buffer, name), before[name]) for name in range(2))
    buffer.refresh(blobs())
    assert all(torch.equal(weights(buffer, name), before[name]) for name in range(2))


def test_a_new_row_has_the_distance_of_its_own_features() -> None:
    buffer, new = grasp_buffer(), 3 * torch.eye(5)[[0, 0]] + torch.tensor([[0.0] * 5, [0, 0, 9, 0, 0]])
    earlier = normalize(blobs().double(), dim=1)[::2]
    labels = torch.zeros(2, dtype=torch.int64)
    buffer.add({"id": torch.tensor([N, N + 1]), "y": labels, "task_id": labels}, features=new)
    unit = normalize(new.double(), dim=1)
    mean = normalize(earlier.sum(0) + unit.sum(0), dim=0)
    slots = [buffer.all()["id"].tolist().index(number) for number in (N, N + 1)]
    assert torch.allclose(distances(buffer)[slots], 1 - unit @ mean)
    assert distances(buffer)[slots[1]] > 4 * distances(buffer)[slots[0]]


def test_the_newest_rows_are_not_drawn_before_typical_ones() -> None:
    """Five percent of the rows are new in each step: they are no more than their share of a draw allows."""
    buffer = RehearsalBuffer(200, policy=Ring(), sampler=Grasp())
    generator, drawn_new = torch.Generator().manual_seed(0), 0
    for step in range(100):
        y = torch.zeros(10, dtype=torch.int64)
        newest = torch.arange(10 * step, 10 * step + 10)
        features = torch.tensor([3.0, 0, 0, 0, 0]) + torch.randn(10, 5, generator=generator)
        buffer.add({"id": newest, "y": y, "task_id": y}, features=features)
        if step >= 20:
            drawn_new += int((buffer.sample(10)["id"] >= 10 * step).sum())
    assert drawn_new / 800 < 0.2


def test_classes_are_balanced() -> None:
    buffer = grasp_buffer()
    for n in (2, 7, 20):
        counts = buffer.read(buffer.draw(n))["y"].bincount(minlength=2)
        assert abs(int(counts[0] - counts[1])) == n % 2

"""Buffers that move to another number of workers lose nothing, keep their quotas, and go on as they should."""

from collections import Counter

import pytest
import torch

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    Grasp,
    PartitioningReservoir,
    PerClassRandom,
    Policy,
    RehearsalBuffer,
    Reservoir,
)
from tests.buffers.distributed.reshard_helpers import (
    LABELS,
    TOTAL,
    all_the_way,
    class_counts,
    ids_of,
    is_intact,
    maker,
    move,
    offer,
    share_stream,
)
from tests.buffers.helpers import features_of, losses_of, score, shuffled, unchanged

WAYS = [[4, 2, 4], [2, 1], [1, 3], [2, 3], [3, 2], [4, 1]]


@pytest.mark.parametrize(
    ("policy", "sampler", "way"),
    [*((policy, "uniform", way) for policy in POLICIES for way in WAYS)]
    + [("reservoir", sampler, [4, 2, 3]) for sampler in SAMPLERS if sampler != "uniform"],
)
@pytest.mark.few(13)
def test_nothing_is_lost(policy: str, sampler: str, way: list[int]) -> None:
    first, *later = all_the_way(way, policy, sampler)
    for buffers in later:
        assert ids_of(buffers) == ids_of(first)
        assert all(is_intact(buffer) for buffer in buffers)
        sizes, seen = [len(buffer) for buffer in buffers], [buffer.n_seen for buffer in buffers]
        assert max(sizes) - min(sizes) <= 1
        assert sum(seen) == len(LABELS)
        assert max(seen) - min(seen) <= 1
        assert all(((buffer.ages() >= 0) & (buffer.ages() < buffer.n_seen)).all() for buffer in buffers)
        for buffer in buffers:  # they go on
            offer(buffer, torch.arange(1000, 1100), LABELS[:100])
            slots = buffer.draw(5, rate=score)
            buffer.on_replayed(slots, losses_of(slots))
            assert is_intact(buffer)
            assert len(buffer) == buffer.capacity


@pytest.mark.parametrize("sampler", ["uniform", "old_tasks"])
@pytest.mark.parametrize("way", [[4, 2, 4], [2, 3, 1]])
@pytest.mark.parametrize("policy", ["class_balanced", "ring", "greedy_balanced", "per_class_random", "partitioning"])
def test_quotas_are_kept(policy: str, way: list[int], sampler: str) -> None:
    first, *later = all_the_way(way, policy, sampler)
    before = torch.tensor([class_counts(buffer, 6) for buffer in first]).sum(0)
    for buffers in later:
        counts = torch.tensor([class_counts(buffer, 6) for buffer in buffers])
        assert torch.equal(counts.sum(0), before)
        assert (counts.max(0).values - counts.min(0).values).max() <= 1


class TestBalance:
    """T7: where classes have enough samples, no worker has two more of one than of another."""

    def test_when_classes_come_later(self) -> None:
        buffers = all_the_way([4, 2], "class_balanced", "uniform", shuffled([0, 1, 2] * 60))[-1]
        share_stream(buffers, shuffled([3, 4] * 60), start=1000)
        for buffer in buffers:
            counts = class_counts(buffer, 5)
            assert max(counts) - min(counts) <= 1

    @pytest.mark.parametrize("sampler", ["task_balanced", "old_tasks"])
    def test_of_tasks(self, sampler: str) -> None:
        for buffers in all_the_way([4, 2, 3], "class_balanced", sampler)[1:]:
            tasks = [Counter(buffer.all()["task_id"].tolist()) for buffer in buffers]
            for task in range(3):
                assert max(of[task] for of in tasks) - min(of[task] for of in tasks) <= 1


class TestCounts:
    def test_of_classes_are_conserved(self) -> None:
        for buffers in all_the_way([4, 3, 2, 4], "class_balanced", "uniform"):
            seen: Counter[int] = sum((Counter(buffer.policy.state_dict()["seen"]) for buffer in buffers), Counter())
            assert seen == Counter(LABELS.tolist())
            for buffer in buffers:
                state = buffer.policy.state_dict()
                assert sum(state["seen"].values()) == buffer.n_seen
                assert all(state["seen"][name] >= size for name, size in buffer.policy.groups.sizes().items())

    def test_draws_go_with_their_rows(self) -> None:
        buffers = [maker(2)(rank) for rank in range(2)]
        share_stream(buffers, LABELS)
        for buffer in buffers:
            for _ in range(20):
                buffer.draw(4)

        def counts(buffers: list[RehearsalBuffer]) -> dict[int, int]:
            pairs = [zip(b.all()["id"].tolist(), b.draw_counts().tolist(), strict=True) for b in buffers]
            return dict(sorted(pair for some in pairs for pair in some))

        moved = move(buffers, maker(3), 3)
        assert counts(moved) == counts(buffers)
        assert [buffer.n_draws for buffer in moved] == [20, 20, 20]

    def test_ages_are_in_samples_of_the_new_workers(self) -> None:
        buffers = all_the_way([4, 2], "ring", "uniform", torch.zeros(200, dtype=torch.int64))
        for buffer in buffers[1]:  # the latest 48 of 200 samples, of which each worker now counts 100
            assert 0 <= buffer.ages().min() <= 2
            assert 22 <= buffer.ages().max() <= 26

    def test_losses_and_label_sets(self) -> None:
        for buffer in all_the_way([4, 2, 3], "loss_aware", "uniform")[-1]:
            wanted = losses_of(buffer.all()["id"]).double()
            assert torch.equal(buffer.policy.state_dict()["losses"], wanted)
        sets = torch.eye(6, dtype=torch.bool)[LABELS] | torch.eye(6, dtype=torch.bool)[LABELS.flip(0)]
        stations = all_the_way([4, 2, 3], "partitioning", "uniform", sets)
        for buffer in stations[-1]:
            assert torch.equal(buffer.policy.state_dict()["stored"], buffer.all()["y"])
        seen = torch.tensor([buffer.policy.state_dict()["seen"] for buffer in stations[-1]])
        assert torch.equal(seen.sum(0), sets.sum(0))

    def test_labels_that_only_some_workers_know(self) -> None:
        buffers = [RehearsalBuffer(8, policy=PartitioningReservoir()) for _ in range(2)]
        for rank, buffer in enumerate(buffers):
            offer(buffer, torch.arange(6) + 10 * rank, torch.full((6,), 5 * rank))
        (moved,) = move(buffers, lambda _: RehearsalBuffer(16, policy=PartitioningReservoir()), 1)
        assert moved.class_counts() == {0: 6, 5: 6}
        assert moved.policy.state_dict()["seen"] == [6, 0, 0, 0, 0, 6]


class TestHerding:
    def test_means_are_of_all_samples_seen(self) -> None:
        labels = shuffled([0] * 40 + [1] * 40)
        (one,) = all_the_way([4, 1], "herding", "uniform", labels)[1]
        features = torch.nn.functional.normalize(features_of(torch.arange(80)), dim=1)
        state = one.policy.state_dict()
        for name in (0, 1):
            assert torch.allclose(state["sums"][name], features[labels == name].sum(0), atol=1e-4)
            assert state["counts"][name] == 40
        kept = torch.nn.functional.normalize(features_of(one.all()["id"]), dim=1)
        assert torch.allclose(state["features"], kept, atol=1e-6)


class TestRing:
    """The order of the samples of a class outlives a move."""

    LABELS = shuffled([0, 1, 2] * 40)

    def given_up(self, way: list[int]) -> tuple[list[int], list[int]]:
        """Samples of class 0, in the order of their arrival and in that in which new ones take their places."""
        (buffer,) = all_the_way(way, "ring", "uniform", self.LABELS, batch=1)[-1]
        left = set(ids_of([buffer]))
        stored, order = [i for i in sorted(left) if self.LABELS[i] == 0], []
        for n in range(len(stored)):
            offer(buffer, torch.tensor([1000 + n]), torch.tensor([0]))
            order += left - set(ids_of([buffer]))
            left -= set(order)
        return stored, order

    @pytest.mark.parametrize("way", [[1], [2, 1], [4, 1]])
    def test_the_oldest_goes_first(self, way: list[int]) -> None:
        stored, order = self.given_up(way)
        assert order == stored
        assert len(order) == 16

    def test_after_several_moves(self) -> None:
        stored, order = self.given_up([4, 2, 3, 1])
        assert sorted(order) == stored
        # Workers go side by side: which sample of one step comes first is not kept.
        assert all(abs(i - stored.index(sample)) <= 2 for i, sample in enumerate(order))


def test_samplers_know_the_rows() -> None:
    buffers = [RehearsalBuffer(24, sampler=Grasp(), seed=rank) for rank in range(2)]
    share_stream(buffers, LABELS)
    known = {}
    for buffer in buffers:
        buffer.refresh(features_of(buffer.all()["id"]))
        known |= dict(zip(buffer.all()["id"].tolist(), buffer.sampler.distances.tolist(), strict=True))
    for buffer in move(buffers, lambda rank: RehearsalBuffer(16, sampler=Grasp()), 3):
        assert buffer.sampler.distances.tolist() == [known[i] for i in buffer.all()["id"].tolist()]
        groups = buffer.sampler.groups
        assert [groups.group_of(slot) for slot in range(len(buffer))] == buffer.all()["y"].tolist()


def test_old_tasks_stay_old() -> None:
    labels = torch.arange(6).repeat_interleave(20)
    for buffer in all_the_way([4, 2], "class_balanced", "old_tasks", labels)[1]:
        slots = buffer.draw(24)
        assert set(buffer.read(slots)["task_id"].tolist()) == {0, 1}  # task 2 came last


class TestLessRoom:
    """Where rows do not fit any more, the policy keeps those that it would keep of a stream of them."""

    def test_classes_stay_balanced(self) -> None:
        labels = shuffled([0, 1, 2, 3] * 50)
        first = all_the_way([4], "class_balanced", "class_balanced", labels)[0]
        for buffer in move(first, maker(2, "class_balanced", "class_balanced", total=24), 2):
            assert class_counts(buffer, 4) == [3, 3, 3, 3]
            assert is_intact(buffer)

    def test_a_ring_keeps_the_latest(self) -> None:
        labels = shuffled([0, 1, 2] * 40)
        first = all_the_way([4], "ring", "uniform", labels, batch=1)[0]
        (moved,) = move(first, maker(1, "ring", total=12), 1)
        latest = [(labels == name).nonzero().view(-1)[-4:] for name in range(3)]
        assert ids_of([moved]) == sorted(torch.cat(latest).tolist())


def test_a_quota_limits_classes() -> None:
    buffers = [RehearsalBuffer(12, policy=PerClassRandom(quota=3)) for _ in range(4)]
    share_stream(buffers, LABELS[LABELS < 4])
    for buffer in move(buffers, lambda _: RehearsalBuffer(24, policy=PerClassRandom(quota=3)), 2):
        assert class_counts(buffer, 4) == [3, 3, 3, 3]
        assert is_intact(buffer)


def test_more_room_is_filled_by_any_class() -> None:
    first = all_the_way([2], "class_balanced", "uniform", shuffled([0, 1] * 60))[0]
    (moved,) = move(first, maker(1, "class_balanced", total=TOTAL + 10), 1)
    offer(moved, torch.arange(1000, 1010), torch.zeros(10, dtype=torch.int64))
    assert len(moved) == TOTAL + 10


def test_capacity_in_bytes() -> None:
    sizes = [40, 41]  # rows: the first worker has one less
    buffers = [RehearsalBuffer(size) for size in sizes]
    share_stream(buffers, LABELS)
    n_bytes = buffers[0].nbytes // 40
    moved = move(buffers, lambda rank: RehearsalBuffer(n_bytes=27 * n_bytes + 5), 3)
    assert ids_of(moved) == ids_of(buffers)
    assert [buffer.capacity for buffer in moved] == [27, 27, 27]
    (one,) = move(moved, lambda _: RehearsalBuffer(n_bytes=n_bytes * 20), 1)
    assert (len(one), one.n_seen) == (20, len(LABELS))


@pytest.mark.parametrize("policy", POLICIES)
def test_buffers_that_are_not_full_or_empty(policy: str) -> None:
    make = maker(3, policy, "class_balanced")
    buffers = [make(rank) for rank in range(3)]
    for buffer in move(buffers, maker(2, policy, "class_balanced"), 2):
        assert (len(buffer), buffer.n_seen, buffer.has_rows) == (0, 0, False)
    offer(buffers[1], torch.arange(7), LABELS[:7])  # the other two have not seen any
    moved = move(buffers, maker(2, policy, "class_balanced"), 2)
    assert ids_of(moved) == list(range(7))
    assert [buffer.n_seen for buffer in moved] == [4, 3]
    share_stream(moved, LABELS, start=100)
    assert all(len(buffer) == buffer.capacity for buffer in moved)


def test_random_numbers_are_new() -> None:
    seeds = [buffer._seed for buffers in all_the_way([4, 2, 4, 2], "reservoir", "uniform") for buffer in buffers]
    assert len(set(seeds)) == len(seeds)


class TestRefused:
    def test_another_policy_or_sampler(self) -> None:
        buffers = all_the_way([2], "ring", "uniform")[0]
        with pytest.raises(ValueError, match="has the policy Ring and this one Reservoir; make it with the saved one"):
            move(buffers, maker(1), 1)
        with pytest.raises(ValueError, match="has the sampler Uniform and this one Grasp; make it with the saved one"):
            move(buffers, maker(1, "ring", "grasp"), 1)

    def test_other_samples(self) -> None:
        buffers = [RehearsalBuffer(4) for _ in range(2)]
        for width, buffer in enumerate(buffers, start=3):
            buffer.add({"x": torch.zeros(2, width)})
        with pytest.raises(ValueError, match=r"x \(3,\) torch.float32, others x \(4,\) .*; resume on 2 workers"):
            move(buffers, maker(1), 1)

    def test_a_policy_that_does_not_tell(self) -> None:
        class Secretive(Reservoir):
            slot_metadata = Policy.slot_metadata

        buffers = [RehearsalBuffer(4, policy=Secretive()) for _ in range(2)]
        share_stream(buffers, LABELS)
        target = RehearsalBuffer(8, policy=Secretive())
        with pytest.raises(ValueError, match="Secretive cannot move to another number of workers; resume on as many"):
            unchanged(target, lambda: move(buffers, lambda _: target, 1))()

from random import Random

import torch

from redwood.buffers.slot_statistics import Groups, SlotStatistics


def test_a_slot_tells_of_its_latest_sample() -> None:
    statistics = SlotStatistics(3)
    statistics.on_stored(torch.tensor([0, 2]), torch.tensor([5, 6]))
    for _ in range(2):
        statistics.on_drawn(torch.tensor([2]))
    statistics.on_stored(torch.tensor([0]), torch.tensor([9]))
    assert statistics.arrivals.tolist() == [9, 0, 6]
    assert statistics.draws.tolist() == [0, 0, 2]
    statistics.on_stored(torch.tensor([2]), torch.tensor([10]))
    assert statistics.draws.tolist() == [0, 0, 0]


def test_going_on() -> None:
    statistics, other = SlotStatistics(2), SlotStatistics(4)
    statistics.on_stored(torch.tensor([0, 1]), torch.tensor([3, 4]))
    statistics.on_drawn(torch.tensor([1]))
    other.load_state_dict(statistics.state_dict(2))
    assert other.arrivals.tolist() == [3, 4, 0, 0]
    assert other.draws.tolist() == [0, 1, 0, 0]


def test_against_a_plain_map() -> None:
    random, groups, plain = Random(0), Groups(), {}
    for step in range(500):
        slots = random.sample(range(40), random.randint(0, 5))
        names = [random.randrange(6) for _ in slots]
        groups.assign(slots, names)
        plain.update(zip(slots, names, strict=True))
        members = {name: {slot for slot, other in plain.items() if other == name} for name in set(plain.values())}
        assert {name: set(groups.slots(name)) for name in groups.sizes()} == members
        assert groups.sizes() == {name: groups.size(name) for name in groups.sizes()}
        assert groups.total == len(plain) == sum(groups.sizes().values())
        assert len(groups) == len(members)
        if step % 50 == 0:
            assert all(groups.group_of(slot) == name for slot, name in plain.items())


def test_a_group_without_slots_is_gone() -> None:
    groups = Groups()
    groups.assign([0], [7])
    groups.assign([0], [3])
    assert groups.sizes() == {3: 1}
    assert (groups.size(7), groups.slots(7)) == (0, [])


def test_a_slot_that_stays_in_its_group_is_listed_last() -> None:
    groups = Groups()
    groups.assign([0, 1, 2], [7, 7, 7])
    groups.assign([0], [7])
    assert groups.slots(7) == [2, 1, 0]


def test_a_state_keeps_the_order() -> None:
    groups, restored = Groups(), Groups()
    groups.assign([4, 0, 2, 1], [1, 0, 1, 1])
    groups.assign([0], [1])
    restored.assign([9], [9])
    state = groups.state_dict()
    restored.load_state_dict(state)
    assert restored.state_dict() == state == {1: [4, 2, 1, 0]}
    assert restored.group_of(2) == 1
    groups.assign([4], [5])
    assert state == {1: [4, 2, 1, 0]}

from random import Random

import pytest
import torch

from redwood.buffers.slot_groups import MANY_SLOTS, PER_GROUP, Groups
from redwood.core.state import State


class PlainGroups:
    """The same, one slot at a time in lists."""

    def __init__(self) -> None:
        self.lists: dict[int, list[int]] = {}

    def assign(self, slots: list[int], names: list[int]) -> None:
        for slot, name in zip(slots, names, strict=True):
            for group, members in list(self.lists.items()):
                if slot in members:
                    index, last = members.index(slot), members.pop()
                    if last != slot:
                        members[index] = last
                    if not members:
                        del self.lists[group]
            self.lists.setdefault(name, []).append(slot)


def same(groups: Groups, plain: PlainGroups) -> None:
    lists, total = plain.lists, sum(map(len, plain.lists.values()))
    assert list(groups.sizes().items()) == [(name, len(members)) for name, members in lists.items()]
    assert {name: groups.slots(name).tolist() for name in lists} == lists
    assert (groups.total, len(groups)) == (total, len(lists))
    names = [(name, number) for name, members in lists.items() for number in range(len(members))]
    ids, numbers = torch.tensor(names, dtype=torch.int64).view(-1, 2).unbind(1)
    wanted = [slot for members in lists.values() for slot in members]
    assert groups.locate(ids, numbers).tolist() == groups.locate(ids.tolist(), numbers.tolist()).tolist() == wanted
    assert [groups.slot(*entry) for entry in names] == wanted
    assert [groups.group_of(slot) for slot in wanted] == ids.tolist()


class TestAssign:
    @pytest.mark.parametrize("most", [3, 40])
    def test_against_plain_lists(self, most: int) -> None:
        random, groups, plain = Random(0), Groups(), PlainGroups()
        for step in range(300):
            slots = random.sample(range(200), random.randint(0, most))
            names = [random.randrange(-1, 6) for _ in slots]
            groups.assign(slots, names)
            plain.assign(slots, names)
            if step % 10 == 0:
                same(groups, plain)

    @pytest.mark.parametrize("n_groups", [1, 7, 500])
    def test_many_at_once(self, n_groups: int) -> None:
        """New slots, then old and new ones, then some of them twice."""
        random, groups, plain = Random(1), Groups(), PlainGroups()
        new = list(range(3 * MANY_SLOTS))
        random.shuffle(new)
        mixed = random.sample(range(4 * MANY_SLOTS), 2 * MANY_SLOTS)
        for slots in (new[:MANY_SLOTS], new[MANY_SLOTS:], mixed, mixed[:MANY_SLOTS] * 2):
            names = [random.randrange(n_groups) for _ in slots]
            groups.assign(torch.tensor(slots), torch.tensor(names))
            plain.assign(slots, names)
            same(groups, plain)

    @pytest.mark.parametrize(("n_groups", "is_at_once"), [(4, True), (5, False)])
    def test_only_large_groups_are_worth_it(
        self, n_groups: int, is_at_once: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each group takes calls of NumPy, in a restored state as in a batch."""
        single: list[tuple[int, int]] = []
        put = Groups.put

        def put_one(self: Groups, slot: int, group: int) -> None:
            single.append((slot, group))
            put(self, slot, group)

        monkeypatch.setattr(Groups, "put", put_one)
        groups, names = Groups(), torch.arange(4 * PER_GROUP) % n_groups
        groups.assign(torch.arange(len(names)), names)
        restored = Groups.restored(groups.state_dict())
        assert restored.of_all().tolist() == names.tolist()
        assert len(single) == (0 if is_at_once else 2 * len(names))

    def test_a_group_without_slots_is_gone(self) -> None:
        groups = Groups()
        groups.put(0, 7)
        groups.put(0, 3)
        assert groups.sizes() == {3: 1}
        assert (groups.size(7), groups.slots(7).tolist()) == (0, [])

    def test_a_slot_that_stays_in_its_group_is_listed_last(self) -> None:
        groups = Groups()
        groups.assign([0, 1, 2], [7, 7, 7])
        groups.assign([0], [7])
        assert groups.slots(7).tolist() == [2, 1, 0]

    def test_blocks_of_groups_that_shrink_are_used_again(self) -> None:
        groups = Groups()
        groups.assign(range(1000), [0] * 1000)
        before = groups.nbytes
        for name in range(1, 20):
            groups.assign(range(1000), [name] * 1000)
        assert groups.nbytes < 1.2 * before


class TestState:
    def test_it_keeps_the_order(self) -> None:
        groups = Groups()
        groups.assign([4, 0, 2, 1, 3], [1, 0, 1, 1, -1])
        groups.assign([0], [1])
        state = groups.state_dict()
        assert {name: part.tolist() for name, part in state.items()} == {
            "groups": [1, -1],
            "sizes": [4, 1],
            "slots": [4, 2, 1, 0, 3],
        }
        restored = Groups.restored(state)
        groups.assign([4], [5])
        assert list(restored.sizes()) == [1, -1]
        assert restored.slots(1).tolist() == [4, 2, 1, 0]
        assert restored.of_all().tolist() == [1, 1, 1, -1, 1]

    @pytest.mark.parametrize(
        "damage",
        [
            {"slots": [0, 1, 1]},
            {"slots": [0, 1, 3]},
            {"slots": [0, 1, -1]},
            {"slots": [0, 1]},
            {"sizes": [1, 1]},
            {"sizes": [4, -1]},
            {"sizes": [3, 0]},
            {"groups": [5, 5]},
            {"groups": [5]},
        ],
    )
    def test_damage_is_found(self, damage: dict[str, list[int]]) -> None:
        groups = Groups()
        groups.assign([2, 0, 1], [5, 5, 6])
        state: State = groups.state_dict() | {name: torch.tensor(values) for name, values in damage.items()}
        with pytest.raises(KeyError):
            Groups.restored(state)

    @pytest.mark.parametrize(("slots", "size", "is_valid"), [([1, 0], 2, True), ([1, 0], 1, False), ([0, 2], 2, False)])
    def test_which_slots_there_are(self, slots: list[int], size: int, is_valid: bool) -> None:
        groups = Groups()
        groups.assign(slots, [3] * len(slots))
        assert groups.validate_slots(size) is is_valid


def test_bytes_of_a_slot() -> None:
    groups = Groups()
    groups.assign(torch.arange(100_000), torch.arange(100_000) % 100)
    assert groups.nbytes / 100_000 < 8 * 1.08

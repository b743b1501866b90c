import torch

from redwood.buffers.slot_statistics import WIDE, SlotStatistics


def test_a_slot_tells_of_its_latest_sample() -> None:
    statistics = SlotStatistics(3)
    statistics.on_stored(torch.tensor([0, 2]), torch.tensor([5, 6]), 99)
    for _ in range(2):
        statistics.on_drawn(torch.tensor([2]))
    statistics.on_stored(torch.tensor([0]), torch.tensor([9]), 99)
    assert statistics.arrivals.tolist() == [9, 0, 6]
    assert statistics.draws.tolist() == [0, 0, 2]
    statistics.on_stored(torch.tensor([2]), torch.tensor([10]), 99)
    assert statistics.draws.tolist() == [0, 0, 0]


def test_going_on() -> None:
    statistics, other = SlotStatistics(2), SlotStatistics(4)
    statistics.on_stored(torch.tensor([0, 1]), torch.tensor([3, 4]), 99)
    statistics.on_drawn(torch.tensor([1]))
    other.load_state_dict(statistics.state_dict(2))
    assert other.arrivals.tolist() == [3, 4, 0, 0]
    assert other.draws.tolist() == [0, 1, 0, 0]


def test_arrivals_beyond_32_bits() -> None:
    statistics, other = SlotStatistics(2), SlotStatistics(2)
    statistics.on_stored(torch.tensor([0]), torch.tensor([WIDE - 1]), WIDE)
    assert statistics.arrivals.dtype == torch.int32
    statistics.on_stored(torch.tensor([1]), torch.tensor([WIDE]), WIDE + 1)
    other.load_state_dict(statistics.state_dict(2))
    assert statistics.arrivals.tolist() == other.arrivals.tolist() == [WIDE - 1, WIDE]

import torch

from redwood.buffers.slot_statistics import Records


def test_a_slot_tells_of_its_latest_sample() -> None:
    records = Records(3)
    records.written(torch.tensor([0, 2]), torch.tensor([5, 6]))
    for _ in range(2):
        records.drawn(torch.tensor([2]))
    records.written(torch.tensor([0]), torch.tensor([9]))
    assert records.arrivals.tolist() == [9, 0, 6]
    assert records.draws.tolist() == [0, 0, 2]
    records.written(torch.tensor([2]), torch.tensor([10]))
    assert records.draws.tolist() == [0, 0, 0]


def test_growing_and_going_on() -> None:
    records, other = Records(2), Records(4)
    records.written(torch.tensor([0, 1]), torch.tensor([3, 4]))
    records.drawn(torch.tensor([1]))
    records.grow(4)
    assert records.arrivals.tolist() == [3, 4, 0, 0]
    other.load_state_dict(records.state_dict(2))
    assert torch.equal(other.arrivals, records.arrivals)
    assert torch.equal(other.draws, records.draws)

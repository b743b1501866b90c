import torch

from redwood.core.workers import gather_objects, rank, sum_over_workers, world_size


def tell_each_other():
    own = torch.tensor([1, 10 * rank()])
    total = sum_over_workers(own)
    return rank(), world_size(), own.tolist(), total.tolist(), gather_objects({"rank": rank()})


def test_alone():
    assert tell_each_other() == (0, 1, [1, 0], [1, 0], [{"rank": 0}])


def test_together(two_workers):
    everyone = [{"rank": 0}, {"rank": 1}]
    assert two_workers.run(tell_each_other) == [
        (0, 2, [1, 0], [2, 10], everyone),
        (1, 2, [1, 10], [2, 10], everyone),
    ]

"""Statistics of uniform draws are in test_statistics.py."""

import torch

from redwood.buffers import Uniform


def test_a_draw_follows_from_seed_and_step() -> None:
    one, other = Uniform(), Uniform()
    one.bind(3)
    other.bind(3)
    draws = [one.draw(5, step, 40) for step in range(100)]
    for step in (99, 0, 64, 63):
        assert torch.equal(other.draw(5, step, 40), draws[step])
    other.bind(4)
    assert not torch.equal(other.draw(5, 0, 40), draws[0])


def test_only_rows_that_are_stored() -> None:
    sampler = Uniform()
    sampler.bind(0)
    assert sampler.draw(9, 0, 4).sort().values.tolist() == [0, 1, 2, 3]
    assert sampler.draw(1, 1, 1).tolist() == [0]

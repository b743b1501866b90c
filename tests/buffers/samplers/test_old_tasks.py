import torch

from redwood.buffers import GreedyBalanced, OldTasks, RehearsalBuffer, Reservoir
from tests.buffers.helpers import feed
from tests.buffers.statistics import ALPHA, draw_p_value


def test_the_current_task_is_never_drawn() -> None:
    buffer = RehearsalBuffer(40, sampler=OldTasks(), seed=1)
    for task in range(5):
        for part in range(4):
            feed(buffer, torch.tensor([2 * task, 2 * task + 1] * 10), start=80 * task + 20 * part)
            drawn = buffer.read(buffer.draw(15))["task_id"]
            old = buffer.all()["task_id"] != task
            assert len(drawn) == min(15, int(old.sum()))
            assert (drawn < task).all()


def test_nothing_is_drawn_of_a_single_task() -> None:
    buffer = RehearsalBuffer(40, sampler=OldTasks())
    feed(buffer, torch.zeros(20).long())
    assert buffer.draw(5).tolist() == []
    assert buffer.sample(5)["id"].shape == (0,)


def test_a_task_is_current_even_if_none_of_its_samples_is_kept() -> None:
    buffer = RehearsalBuffer(4, policy=GreedyBalanced(), sampler=OldTasks())
    feed(buffer, torch.tensor([0] * 10))
    assert len(buffer.draw(4)) == 0
    batch = {name: leaf[:1] for name, leaf in buffer.all().items()} | {"task_id": torch.tensor([7])}
    buffer.add(batch)
    assert len(buffer.draw(4)) == 4


def test_a_task_that_returns_is_current_again() -> None:
    buffer = RehearsalBuffer(20, sampler=OldTasks())
    for labels, drawn in (([0] * 5, set()), ([2] * 5, {0}), ([0] * 5, {1}), ([4] * 5, {0, 1})):
        feed(buffer, torch.tensor(labels))
        assert set(buffer.read(buffer.draw(20))["task_id"].tolist()) == drawn


def test_uniform_over_old_rows() -> None:
    buffer = RehearsalBuffer(60, policy=Reservoir(), sampler=OldTasks(), seed=3)
    feed(buffer, torch.tensor([0] * 30 + [2] * 12 + [4] * 18), 60)
    counts = torch.stack([buffer.draw(8) for _ in range(800)]).flatten().bincount(minlength=60)
    assert counts[42:].sum() == 0
    assert draw_p_value(counts[:42], 8, 800) > ALPHA

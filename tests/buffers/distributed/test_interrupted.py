"""A buffer whose exchange was interrupted: what is announced and not written must not be trained with."""

import pickle

import pytest
import torch

from redwood.buffers import AsyncRehearsalBuffer, BufferInputError
from redwood.core.state import State
from tests.workers import TwoWorkers


def samples(step: int) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(4.0) + 10 * step}


def opened() -> AsyncRehearsalBuffer:
    memory = AsyncRehearsalBuffer(20, replay=2)
    memory.open()
    return memory


def saved(memory: AsyncRehearsalBuffer) -> tuple[State, State]:
    memory.flush()
    return memory.buffer.state_dict(), memory.extra_state()


def refused_until_it_is_restored() -> list[int]:
    memory = opened()
    memory.add(samples(0))
    state, extra = saved(memory)
    memory.collect()
    memory.add(samples(1))
    memory.abort()
    memory.open()
    with pytest.raises(BufferInputError, match="interrupted the exchange"):
        memory.collect()
    memory.reset()
    memory.buffer.load_state_dict(state)
    memory.restore(extra)
    replayed = memory.collect()["x"]
    memory.close()
    return sorted(replayed.int().tolist())


def used_after_it_was_closed() -> int:
    memory = opened()
    memory.add(samples(0))
    memory.close()
    memory.open()
    replayed = memory.collect()["x"]
    memory.close()
    return len(replayed)


def test_it_is_refused_until_it_is_restored(two_workers: TwoWorkers) -> None:
    for replayed in two_workers.run(refused_until_it_is_restored):
        assert len(replayed) == 2 and set(replayed) <= set(range(4))  # of the step that was saved


def test_closing_it_is_no_interruption(two_workers: TwoWorkers) -> None:
    assert two_workers.run(used_after_it_was_closed) == [2, 2]


def test_alone_nothing_is_interrupted() -> None:
    memory = opened()
    memory.add(samples(0))
    memory.abort()
    memory.open()
    assert len(memory.collect()["x"]) == 2
    memory.close()


def test_a_copy_by_pickle_draws_what_the_buffer_itself_draws() -> None:
    memory = opened()
    memory.add(samples(0))
    memory.flush()
    copy = pickle.loads(pickle.dumps(memory))
    copy.open()
    assert torch.equal(copy.collect()["x"], memory.collect()["x"])
    memory.close()
    copy.close()


def test_a_copy_by_pickle_of_a_new_buffer_draws_nothing() -> None:
    copy = pickle.loads(pickle.dumps(AsyncRehearsalBuffer(20, replay=2)))
    copy.open()
    assert copy.collect() is None
    copy.add(samples(0))
    assert len(copy.collect()["x"]) == 2
    copy.close()

import pytest
import torch

from redwood.buffers import RehearsalBuffer
from redwood.core.workers import rank
from redwood.methods.replay.gdumb import MemoryLoader, MemoryPhase
from tests.small_runs import small_setting

SIZES = [(1, 4), (4, 4), (5, 4), (12, 5), (20, 8), (3, 100), (7, 1)]


def memory(n):
    """A buffer of the samples 0 to n - 1 with labels that are ten times as large."""
    buffer = RehearsalBuffer(n)
    buffer.add({"x": torch.arange(n), "y": 10 * torch.arange(n)})
    return buffer


def loader(n, batch_size=4, epochs=3, seed=0):
    made = MemoryLoader(memory(n), batch_size, epochs, seed)
    made.open()
    return made


def epoch(loader):
    """The samples of each of its batches."""
    return [batch.x.tolist() for batch in loader]


class TestEpoch:
    @pytest.mark.parametrize(("n", "batch_size"), SIZES)
    def test_it_shows_each_sample_once(self, n, batch_size):
        made = loader(n, batch_size)
        for _ in range(3):
            batches = epoch(made)
            assert sorted(number for batch in batches for number in batch) == list(range(n))
            assert len(batches) == len(made) == -(-n // batch_size)
            assert max(map(len, batches)) <= batch_size

    @pytest.mark.parametrize(("n", "batch_size"), [(5, 4), (9, 4), (21, 20)])
    def test_no_sample_is_alone(self, n, batch_size):
        """Batch normalisation cannot train on one."""
        assert min(map(len, epoch(loader(n, batch_size)))) > 1

    def test_labels_stay_with_their_samples(self):
        for batch in loader(30):
            assert torch.equal(batch.y, 10 * batch.x)
            assert batch.task_id is None

    def test_task_ids_are_passed_on(self):
        buffer = RehearsalBuffer(4)
        buffer.add({"x": torch.arange(4), "y": torch.arange(4), "task_id": 7 * torch.arange(4)})
        made = MemoryLoader(buffer, 3, 1, 0)
        made.open()
        assert all(torch.equal(batch.task_id, 7 * batch.x) for batch in made)

    def test_orders_follow_from_the_seed_and_the_epoch(self):
        made, again, other = loader(30), loader(30), loader(30, seed=1)
        torch.manual_seed(99)
        first = [epoch(made) for _ in range(3)]
        assert first == [epoch(again) for _ in range(3)]
        assert first[0] != first[1] != first[2]
        assert first[0] != epoch(other)


class TestResuming:
    @pytest.mark.parametrize("stop", range(10))
    def test_it_goes_on_from_any_position(self, stop):
        whole, made = loader(10), loader(10)
        expected = [batch for _ in range(3) for batch in epoch(whole)]
        seen = []
        while len(seen) < stop:
            for batch in made:
                seen.append(batch.x.tolist())
                if len(seen) == stop:
                    break
        other = MemoryLoader(memory(10), 4, 3, 0)
        other.load_state_dict(made.state_dict())
        while len(seen) < 9:
            seen += epoch(other)
        assert seen == expected

    def test_a_phase_goes_on_with_the_position_and_the_accounts_of_the_stream(self):
        setting = small_setting("class_incremental")
        stream = next(setting.phases())
        for batch in stream.train:
            stream.score(batch.y, batch)
        phase, other = (MemoryPhase(one, loader(10)) for one in (stream, next(setting.phases())))
        next(iter(phase.train))
        other.load_state_dict(phase.state_dict())
        assert other.train.state_dict() == phase.train.state_dict() != loader(10).state_dict()
        assert other._stream.train.samples_served == stream.train.samples_served > 0
        assert other.online.curve() == stream.online.curve() != []

    def test_stored_samples_are_not_scored(self):
        stream = next(small_setting("class_incremental").phases())
        phase = MemoryPhase(stream, loader(10))
        for batch in phase.train:
            phase.score(batch.y, batch)
        assert stream.online.curve() == phase.online.curve() == []


def uneven(counts, batch_size):
    made = loader(counts[rank()], batch_size)
    return [epoch(made) for _ in range(2)], len(made)


class TestTwoWorkers:
    @pytest.mark.parametrize("counts", [(5, 9), (8, 8), (1, 4), (2, 17)])
    def test_both_take_the_steps_that_the_larger_memory_takes(self, two_workers, counts):
        answers = two_workers.run(uneven, counts, 4)
        assert [length for _, length in answers] == [-(-max(counts) // 4)] * 2
        for n, (epochs, length) in zip(counts, answers, strict=True):
            for batches in epochs:
                shown = [number for batch in batches for number in batch]
                assert len(batches) == length
                assert set(shown) == set(range(n))
                assert len(shown) == max(counts)
                times = [shown.count(number) for number in range(n)]
                assert max(times) - min(times) <= 1

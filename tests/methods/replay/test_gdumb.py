from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from redwood.buffers import RehearsalBuffer
from redwood.core.errors import InvalidOptionError
from redwood.core.workers import rank
from redwood.methods.baselines import Finetune
from redwood.methods.replay.gdumb import GDumb, MemoryLoader, MemoryPhase
from tests.methods.helpers import numbers, weights_of
from tests.samples import N_TRAIN, numbered
from tests.small_runs import run_here, small_setting

PASSES = 4


@dataclass
class Watched(GDumb):
    """Notes, for each phase, the network before it reads, all that it reads, the new network, and what that is fed."""

    memory_passes: int = PASSES  # passes over the stored samples

    def configure(self, setting):
        super().configure(setting)
        self.read, self.starts, self.fed, self.ends, self.stored = [], [], [], [], []

    def fit(self, phase):
        self.start, self.phase_fed = deepcopy(self.network.state_dict()), []
        super().fit(phase)
        self.fed.append(self.phase_fed)
        self.ends.append(weights_of(self))
        self.stored.append(self.buffer.all())

    def _add(self, batch):
        state = self.network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in self.start.items())
        self.read.append(batch)
        super()._add(batch)

    def reset_network(self):
        super().reset_network()
        self.starts.append(deepcopy(self.network))

    def augment(self, step):
        self.phase_fed.append(step.incoming)
        super().augment(step)


def watch(key="class_incremental", method=None, **options):
    method = method or Watched(buffer_size=20)
    run_here(small_setting(key, **{"dataset": numbered(), "batch_size": 8, "passes": 3} | options), method)
    return method


@pytest.mark.parametrize(("key", "num_phases"), [("class_incremental", 3), ("continual", 1)])
class TestStream:
    def test_it_is_read_once(self, key, num_phases):
        """And nothing is learned from it meanwhile, as `Watched` looks after."""
        method = watch(key)
        assert sorted(number for batch in method.read for number in numbers(batch.x)) == list(range(N_TRAIN))
        assert len(method.ends) == num_phases

    def test_only_stored_samples_are_trained_on(self, key, num_phases):
        method, labels = watch(key), numbered().y
        for fed, stored in zip(method.fed, method.stored, strict=True):
            kept = sorted(numbers(stored["x"]))
            per_pass = len(fed) // PASSES
            for start in range(0, len(fed), per_pass):
                shown = fed[start : start + per_pass]
                assert sorted(number for batch in shown for number in numbers(batch.x)) == kept
            for batch in fed:
                assert batch.y.tolist() == labels[numbers(batch.x)].tolist()
        assert len(set(kept)) == 20


class TestTraining:
    def test_each_phase_ends_at_the_weights_of_a_plain_training(self):
        """SGD with momentum and a cosine to zero, from new weights, on the batches of the memory."""
        method = watch(method=Watched(buffer_size=20, lr=0.02))
        for network, fed, end in zip(method.starts, method.fed, method.ends, strict=True):
            optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
            schedule = CosineAnnealingLR(optimizer, len(fed))
            for batch in fed:
                optimizer.zero_grad()
                F.cross_entropy(network(batch.x), batch.y).backward()
                optimizer.step()
                schedule.step()
            for mine, expected in zip(network.parameters(), end, strict=True):
                torch.testing.assert_close(expected, mine.detach(), rtol=1e-4, atol=1e-5)

    def test_nothing_learned_in_earlier_phases_is_left(self):
        """Another learning rate changes what was learned, but neither the next new weights nor the memory."""
        slow, fast = (watch(method=Watched(buffer_size=20, lr=lr)) for lr in (0.001, 0.02))
        assert not any(map(torch.equal, slow.ends[0], fast.ends[0]))
        for mine, others in zip(slow.starts, fast.starts, strict=True):
            assert all(map(torch.equal, mine.parameters(), others.parameters()))
        assert numbers(slow.stored[-1]["x"]) == numbers(fast.stored[-1]["x"])
        first, second, _ = ([p.detach() for p in network.parameters()] for network in slow.starts)
        assert not any(map(torch.equal, first, second))


class TestMemory:
    def test_it_is_balanced_over_the_classes_seen_so_far(self):
        counts = [torch.bincount(stored["y"]).tolist() for stored in watch().stored]
        assert [sorted(n for n in count if n) for count in counts] == [[10, 10], [5] * 4, [3, 3, 3, 3, 4, 4]]


class TestOnlineAccuracy:
    def test_the_stream_is_scored_by_the_network_of_the_phase_before(self):
        """In the first phase by the untrained one, which is what a learning rate of almost zero leaves."""
        setting = small_setting("class_incremental")
        trained, untrained = (
            run_here(setting, method).online_curve for method in (GDumb(buffer_size=20), Finetune(lr=1e-12))
        )
        assert trained[-1][0] == untrained[-1][0] == 160
        first = [seen for seen, _ in trained].index(sum(next(setting.phases()).train.sizes))
        assert trained[: first + 1] == untrained[: first + 1]
        assert trained[first + 1 :] != untrained[first + 1 :]


def share(buffer_size):
    method = watch(method=Watched(buffer_size=buffer_size), workers=2)
    return method.ends[-1], len(method.fed[-1]), numbers(method.stored[-1]["x"])


def test_two_workers_share_the_memory_and_hold_the_same_network(two_workers):
    (mine, steps, stored), (others, other_steps, other_stored) = two_workers.run(share, 17)
    assert all(map(torch.equal, mine, others))
    assert (len(set(stored)), len(set(other_stored))) == (9, 8)
    assert not set(stored) & set(other_stored)
    assert steps == other_steps == 2 * PASSES


def test_options_out_of_range():
    with pytest.raises(InvalidOptionError, match="--memory_passes 0 has to be at least 1"):
        GDumb(memory_passes=0)


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

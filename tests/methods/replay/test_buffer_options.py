import errno
import os

import pytest
import torch

from redwood.buffers import Reservoir
from redwood.core.errors import InvalidOptionError, RedwoodError
from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.replay.der import DERpp
from redwood.methods.replay.gdumb import GDumb
from redwood.methods.replay.parts import MemoryMapped
from redwood.methods.replay.rehearsal import Rehearsal
from tests.methods.helpers import augmented, batch_of, configured, filled, one_sentence, weights_of
from tests.small_runs import run_here, small_setting

ROW = 80  # bytes of a digit, its label and its task


def run(method, key="class_incremental", **options):
    run_here(small_setting(key, **options), method)
    return method


def quick(cls, **options):
    return run(cls(**{"buffer_size": 20} | ({"memory_passes": 4} if cls is GDumb else {}) | options), passes=1)


class TestTier:
    @pytest.mark.parametrize("cls", [Rehearsal, DERpp, GDumb, ICaRL])
    def test_where_the_rows_are_changes_nothing(self, cls, tmp_path):
        memory, mapped = quick(cls), quick(cls, buffer_tier=MemoryMapped(str(tmp_path)))
        assert all(map(torch.equal, weights_of(memory), weights_of(mapped)))
        for mine, others in zip(memory.buffer.all().values(), mapped.buffer.all().values(), strict=True):
            assert torch.equal(mine, others)

    def test_the_file_is_made_in_the_folder_that_was_named(self, tmp_path, monkeypatch):
        made = []
        reserve = os.posix_fallocate

        def noting(file, *span):
            made.append(os.readlink(f"/proc/self/fd/{file}"))
            reserve(file, *span)

        monkeypatch.setattr("os.posix_fallocate", noting)
        quick(Rehearsal, buffer_tier=MemoryMapped(str(tmp_path)))
        assert [os.path.dirname(path) for path in made] == [str(tmp_path)]
        assert list(tmp_path.iterdir()) == []  # it vanishes with the process

    @pytest.mark.parametrize("fault", [ValueError, RuntimeError])
    @pytest.mark.parametrize("options", [{}, {"asynchronous": True}], ids=str)
    def test_a_fault_of_our_own_is_seen_as_it_is(self, fault, options, monkeypatch):
        def faulty(*_):
            raise fault("the socket of the process group timed out")

        monkeypatch.setattr(Reservoir, "propose", faulty)
        with pytest.raises(fault, match=r"^the socket of the process group timed out$") as raised:
            quick(Rehearsal, **options)
        assert type(raised.value) is fault

    @pytest.mark.parametrize("cls", [Rehearsal, GDumb, ICaRL])
    def test_a_full_disk(self, cls, monkeypatch, tmp_path):
        def full(*span):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.posix_fallocate", full)
        with pytest.raises(RedwoodError, match=r"buffer of [\d,]+ bytes does not fit into .*: No space left") as error:
            quick(cls, buffer_tier=MemoryMapped(str(tmp_path)))
        assert one_sentence(error.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_is_full_when_exemplars_are_chosen(self, monkeypatch, tmp_path):
        """By then the candidates have been stored."""
        reserve, calls = os.posix_fallocate, []

        def full_at_the_second(*span):
            calls.append(span)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reserve(*span)

        monkeypatch.setattr("os.posix_fallocate", full_at_the_second)
        with pytest.raises(RedwoodError, match="does not fit into"):
            quick(ICaRL, buffer_tier=MemoryMapped(str(tmp_path)))

    def test_a_folder_that_there_is_not(self, tmp_path):
        with pytest.raises(InvalidOptionError, match=r"--buffer_dir .*/nowhere is no folder that can be") as error:
            quick(Rehearsal, buffer_tier=MemoryMapped(str(tmp_path / "nowhere")))
        assert one_sentence(error.value)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    @pytest.mark.parametrize("tier", ["cuda", "pinned"])
    def test_tiers_that_need_a_gpu(self, tier):
        with pytest.raises(RedwoodError, match=f"--buffer_tier {tier} needs a CUDA device") as error:
            quick(Rehearsal, buffer_tier=tier)
        assert one_sentence(error.value)

    def test_unknown_tiers(self):
        with pytest.raises(InvalidOptionError, match="--buffer_tier tape is unknown; choose one of auto, cuda, pinned"):
            Rehearsal(buffer_tier="tape")


class TestSize:
    @pytest.mark.parametrize("cls", [Rehearsal, GDumb])
    def test_bytes_count_instead_of_samples(self, cls):
        method = quick(cls, buffer_bytes=12 * ROW + 79)
        assert len(method.buffer) == method.buffer.capacity == 12
        assert method.costs()["buffer_bytes"] == 12 * ROW

    def test_outputs_stored_with_a_sample_count_too(self):
        assert len(quick(DERpp, buffer_bytes=12 * ROW).buffer) == 12 * ROW // (ROW + 4 * 10 + 8)  # words of 16

    def test_less_than_one_sample(self):
        with pytest.raises(RedwoodError, match="n_bytes=79 is less than one sample takes, 80 bytes") as error:
            quick(Rehearsal, buffer_bytes=79)
        assert one_sentence(error.value)


def sizes(options):
    method = run(Rehearsal(**options), workers=2, passes=1)
    return method.buffer.capacity, method.buffer.nbytes


def test_two_workers_share_the_bytes(two_workers):
    assert two_workers.run(sizes, {"buffer_bytes": 21 * ROW}) == [(10, 10 * ROW)] * 2


class TestTaskIds:
    @pytest.mark.parametrize("key", ["continual", "task_agnostic"])
    @pytest.mark.parametrize("sampler", ["old_tasks", "task_balanced"])
    def test_samplers_that_go_by_tasks_are_refused_where_these_are_hidden(self, sampler, key):
        name = {"continual": "ContinualSetting", "task_agnostic": "TaskAgnosticSetting"}[key]
        with pytest.raises(InvalidOptionError, match=f"{sampler} needs task ids, which {name} does not give") as error:
            configured(Rehearsal(buffer_sampler=sampler), key)
        assert one_sentence(error.value)

    @pytest.mark.parametrize("key", ["class_incremental", "task_incremental", "domain_incremental"])
    def test_they_are_given_elsewhere(self, key):
        assert configured(Rehearsal(buffer_sampler="old_tasks"), key).buffer.needs == {"tasks"}


class TestState:
    def test_a_damaged_buffer_is_refused_and_leaves_the_one_that_is_there(self):
        method = filled(configured(Rehearsal(buffer_size=20)))
        before, state = method.buffer.all()["x"], method.state_dict()
        state["replay"]["policy"]["size"] = 5
        with pytest.raises(RedwoodError, match="The saved buffer is damaged"):
            method.load_state_dict(state)
        assert torch.equal(method.buffer.all()["x"], before)

    def test_a_buffer_of_another_size(self):
        method = filled(configured(Rehearsal(buffer_size=20)))
        with pytest.raises(RedwoodError, match="holds 20 samples and this one 30"):
            configured(Rehearsal(buffer_size=30)).load_state_dict(method.state_dict())

    def test_what_is_loaded_draws_and_keeps_as_the_original(self):
        method = filled(configured(Rehearsal(buffer_size=20)))
        other = configured(Rehearsal(buffer_size=20))
        other.load_state_dict(method.state_dict())
        for start in (32, 48, 64):
            batch = batch_of(start, start + 16)
            drawn, again = augmented(method, batch), augmented(other, batch)
            assert torch.equal(drawn.batch.x, again.batch.x)
            assert torch.equal(drawn.batch.y, again.batch.y)
            method.add(drawn)
            other.add(again)
        assert torch.equal(method.buffer.all()["x"], other.buffer.all()["x"])

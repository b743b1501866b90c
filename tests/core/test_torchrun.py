"""Workers of one life of torchrun's find each other, whatever earlier ones have left in the store."""

import threading
from datetime import timedelta

import pytest
from torch.distributed import HashStore, PrefixStore

from redwood.core import torchrun
from redwood.core.errors import WorkerLostError
from redwood.core.torchrun import join_workers, part_of_this_life

SOON = timedelta(seconds=20)


def lives(store, world, left_out=()):
    """What each worker of a life writes to its part of a store, and reads there."""
    parts = {}

    def work(rank):
        parts[rank] = part_of_this_life(PrefixStore("", store), rank, world, SOON)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world) if rank not in left_out]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return parts


def test_workers_share_a_part_that_is_new():
    store = HashStore()
    for life in range(3):
        parts = lives(store, 4)
        assert not any(part.check(["address"]) for part in parts.values())
        parts[0].set("address", f"life {life}")
        assert {part.get("address") for part in parts.values()} == {f"life {life}".encode()}


def test_a_life_in_which_one_never_came_does_not_matter(monkeypatch):
    store = HashStore()
    lives(store, 3)
    with pytest.raises(WorkerLostError, match="Not all of 3 workers came within"):
        part_of_this_life(PrefixStore("", store), 0, 3, timedelta(seconds=0.2))
    parts = lives(store, 3)
    assert not any(part.check(["address"]) for part in parts.values())


def test_fewer_and_more_workers():
    store = HashStore()
    for world in (4, 2, 3):
        assert len({part.get("x") for part in set_everywhere(lives(store, world)).values()}) == 1


def set_everywhere(parts):
    parts[0].set("x", "1")
    return parts


@pytest.mark.parametrize("timeout", [SOON, None])
def test_the_group_has_the_timeout_that_was_asked_for(monkeypatch, timeout):
    environment = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here", "MASTER_PORT": "1"}
    for name, value in {"TORCHELASTIC_USE_AGENT_STORE": "True", **environment}.items():
        monkeypatch.setenv(name, value)
    made = {}
    monkeypatch.setattr(torchrun, "TCPStore", lambda *args, **options: HashStore())
    monkeypatch.setattr(torchrun, "part_of_this_life", lambda store, *args: store)
    monkeypatch.setattr(torchrun.dist, "init_process_group", lambda backend, **options: made.update(options))
    join_workers(lambda: "gloo", timeout)
    assert made["timeout"] == timeout


def test_nothing_is_done_without_torchrun(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    join_workers(lambda: pytest.fail("no group is asked for"), SOON)

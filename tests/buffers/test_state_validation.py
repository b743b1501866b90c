"""A restored buffer goes on exactly, and a damaged snapshot changes nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from redwood.buffers import (
    POLICIES,
    SAMPLERS,
    ClassBalanced,
    ClassBalancedReservoir,
    Grasp,
    PartitioningReservoir,
    RehearsalBuffer,
    Ring,
    TaskBalanced,
)
from tests.buffers.helpers import equal, features_of, feed, fill, losses_of, score, shuffled, unchanged

LABELS = shuffled([0, 0, 0, 1, 1, 2, 2, 3] * 20)


def restore(buffer: RehearsalBuffer, start: int, n_batches: int = 6) -> list[list[int]]:
    """The draws of some steps of a run that tells a buffer everything."""
    draws = []
    for step in range(n_batches):
        first = start + 7 * step
        feed(buffer, LABELS[torch.arange(first, first + 7) % len(LABELS)], 7, first)
        slots = buffer.draw(4, rate=score)
        ids = buffer.read(slots)["id"]
        buffer.on_replayed(slots, losses_of(ids + step))
        if step % 2:
            buffer.refresh(features_of(buffer.all()["id"] + step))
        draws.append(ids.tolist())
    return draws


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.few(12)
def test_goes_on_as_if_uninterrupted(policy: str, sampler: str, tmp_path: Path) -> None:
    def buffer(seed: int) -> RehearsalBuffer:
        return RehearsalBuffer(12, policy=POLICIES[policy](), sampler=SAMPLERS[sampler](), seed=seed)

    original, restored = buffer(5), buffer(99)
    restore(original, 0)
    restore(restored, 1000)  # what was there before is gone
    torch.save(original.state_dict(), tmp_path / "buffer.pt")
    state = torch.load(tmp_path / "buffer.pt", weights_only=True)
    restored.load_state_dict(state)
    kept = torch.load(tmp_path / "buffer.pt", weights_only=True)
    assert (len(restored), restored.n_seen, restored.nbytes) == (len(original), original.n_seen, original.nbytes)
    assert torch.equal(restored.draw(4, rate=score), original.draw(4, rate=score))
    assert restore(restored, 42) == restore(original, 42)
    assert equal(restored.state_dict(), original.state_dict())
    assert torch.equal(restored.ages(), original.ages())
    assert torch.equal(restored.draw_counts(), original.draw_counts())
    assert equal(state, kept)  # loading takes nothing over that later steps change


@pytest.mark.parametrize("n", [0, 5])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_buffer_that_is_not_full_yet(policy: str, n: int) -> None:
    original, restored = (RehearsalBuffer(8, policy=POLICIES[policy](), seed=seed) for seed in (5, 99))
    feed(original, LABELS[:n])
    restored.load_state_dict(original.state_dict())
    for buffer in (original, restored):
        feed(buffer, LABELS, start=n)
    assert equal(restored.state_dict(), original.state_dict())


@pytest.mark.parametrize("policy", POLICIES)
def test_capacity_in_bytes(policy: str) -> None:
    original, restored, again = (RehearsalBuffer(n_bytes=32 * 6, policy=POLICIES[policy]()) for _ in range(3))
    restored.load_state_dict(original.state_dict())  # before any sample has come
    for buffer in (original, restored):
        feed(buffer, LABELS)
    assert original.capacity == 6
    again.load_state_dict(restored.state_dict())
    assert equal(again.state_dict(), original.state_dict())


def test_rows_may_be_kept_elsewhere(tmp_path: Path) -> None:
    original, restored = RehearsalBuffer(8), RehearsalBuffer(8, tier="mmap", directory=str(tmp_path))
    feed(original, LABELS)
    restored.load_state_dict(original.state_dict())
    assert equal(restored.state_dict(), original.state_dict())


def test_is_a_snapshot() -> None:
    buffer = RehearsalBuffer(4, policy=Ring(), sampler=Grasp())
    feed(buffer, LABELS[:40])
    state, again = buffer.state_dict(), buffer.state_dict()
    restore(buffer, 40)
    assert equal(state, again)


def state_of(buffer: RehearsalBuffer) -> dict[str, Any]:
    feed(buffer, LABELS)
    return buffer.state_dict()


class TestOtherBuffers:
    """Snapshots of a buffer that is not like this one are refused."""

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (RehearsalBuffer(5), "holds 5 samples and this one 4; make it with capacity=5"),
            (
                RehearsalBuffer(4, policy=Ring()),
                "has the policy Ring and this one Reservoir; make it with the saved one",
            ),
            (RehearsalBuffer(4, sampler=ClassBalanced()), "has the sampler ClassBalanced and this one Uniform"),
        ],
    )
    def test_refused(self, other: RehearsalBuffer, message: str) -> None:
        buffer = RehearsalBuffer(4)
        fill(buffer, 9)
        state = state_of(other)
        with pytest.raises(ValueError, match=message):
            unchanged(buffer, lambda: buffer.load_state_dict(state))()


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {name}": lambda state, name=name: state.pop(name) for name in RehearsalBuffer(4).state_dict()},
    "no policy size": lambda state: state["policy"].pop("size"),
    "no groups": lambda state: state["policy"].pop("groups"),
    "no groups of the sampler": lambda state: state["sampler"].pop("groups"),
    "an earlier format": lambda state: state.update(format=1),
    "a leaf lacks a row": lambda state: state["rows"].update(y=state["rows"]["y"][:-1]),
    "rows are missing": lambda state: state.update(rows={name: x[:-1] for name, x in state["rows"].items()}),
    "more rows than slots": lambda state: state.update(
        rows={name: x.repeat(2) for name, x in state["rows"].items()},
        slot_statistics={name: x.repeat(2) for name, x in state["slot_statistics"].items()},
        policy=state["policy"] | {"size": 8},
    ),
    "a leaf is no tensor": lambda state: state["rows"].update(y=[1, 2, 3, 4]),
    "all rows are missing": lambda state: state.update(rows=None),
    "arrivals are missing": lambda state: state["slot_statistics"].update(
        arrivals=state["slot_statistics"]["arrivals"][:2]
    ),
    "draws are nothing": lambda state: state["slot_statistics"].update(draws=None),
    "another size": lambda state: state["policy"].update(size=3),
    "a policy of another kind": lambda state: state.update(policy=[1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage(damage: str) -> None:
    def buffer() -> RehearsalBuffer:
        return RehearsalBuffer(4, policy=ClassBalancedReservoir(), sampler=TaskBalanced())

    state, target = state_of(buffer()), buffer()
    feed(target, LABELS[:30])
    DAMAGES[damage](state)
    with pytest.raises(ValueError, match=r"saved buffer|leaves|stores tensors"):
        unchanged(target, lambda: target.load_state_dict(state))()
    restore(target, 30)


@pytest.mark.parametrize("policy", ["partitioning", "herding", "loss_aware", "ring"])
def test_damage_of_what_a_policy_keeps(policy: str) -> None:
    target = RehearsalBuffer(4, policy=POLICIES[policy]())
    feed(target, LABELS[:30])
    for name in target.policy.state_dict():
        state = state_of(RehearsalBuffer(4, policy=POLICIES[policy]()))
        del state["policy"][name]
        with pytest.raises(ValueError, match=f"The saved buffer is damaged .*{name}.*; load another one"):
            unchanged(target, lambda state=state: target.load_state_dict(state))()


def test_label_sets_survive() -> None:
    sets = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)) < 0.4
    original, restored = (RehearsalBuffer(10, policy=PartitioningReservoir(0.5)) for _ in range(2))
    original.add({"id": torch.arange(30)}, labels=sets[:30])
    restored.load_state_dict(original.state_dict())
    for buffer in (original, restored):
        buffer.add({"id": torch.arange(30, 60)}, labels=sets[30:])
    assert equal(restored.state_dict(), original.state_dict())

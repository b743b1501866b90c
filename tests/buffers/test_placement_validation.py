"""A policy that breaks the rules of `Policy.propose` is named in one sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from redwood.buffers import CandidateInfo, Placement, Policy, RehearsalBuffer
from redwood.core.errors import BufferInputError
from tests.buffers.helpers import fill
from tests.methods.helpers import one_sentence

CAPACITY = 300


class Wrong(Policy):
    """Keeps the first samples, but for the mistake that a test makes."""

    def __init__(
        self,
        change: Callable[[Tensor, Tensor], Any] = Placement,
        counts: bool = True,
        grows: int | None = None,
    ) -> None:
        self.change, self.counts, self.grows = change, counts, grows

    def propose(self, info: CandidateInfo) -> Any:
        n = min(info.n, self.capacity - self.size)
        slots = torch.arange(self.size, self.size + n)
        self.size += n if self.grows is None else self.grows
        self.n_seen += info.n if self.counts else 0
        return self.change(torch.arange(n), slots)


class BindsAlone(Wrong):
    def bind(self, capacity: int, seed: int) -> None:
        self.seed = seed


def replaced(numbers: Tensor, value: int, at: int = 0) -> Tensor:
    changed = numbers.clone()
    changed[at] = value
    return changed


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"change": lambda positions, slots: [positions, slots]},
        r"returns a list; return a Placement\(positions, slots\)",
    ),
    ({"change": lambda positions, slots: None}, "returns a NoneType"),
    ({"change": lambda positions, slots: Placement([0], [0])}, "other things than int64 tensors"),  # type: ignore[arg-type]
    ({"change": lambda positions, slots: Placement(positions, slots.float())}, "other things than int64 tensors"),
    ({"change": lambda positions, slots: Placement(positions[:, None], slots)}, "other things than int64 tensors"),
    ({"change": lambda positions, slots: Placement(positions[1:], slots)}, "1?[19]9? positions and [12]0+ slots"),
    ({"change": lambda positions, slots: Placement(replaced(positions, -1), slots)}, "positions from -1 to"),
    (
        {"change": lambda positions, slots: Placement(positions + 1, slots)},
        "positions from 1 to (10|200); choose from 0",
    ),
    ({"change": lambda positions, slots: Placement(positions, slots - 1)}, "slots from -1 to .*; choose from 0 to 299"),
    ({"change": lambda positions, slots: Placement(positions, slots + CAPACITY)}, "slots from 300 to"),
    ({"change": lambda positions, slots: Placement(positions, replaced(slots, 1))}, "distinct; return each slot once"),
    ({"change": lambda positions, slots: Placement(positions, slots + 1)}, "take slot 0 and the next ones"),
    ({"counts": False}, r"counts 0 of (10|200) samples as seen; write self.n_seen \+= info.n"),
    ({"grows": 0}, r"(10|200) free slots and changes self.size from 0 to 0; .* add their number to self.size"),
    ({"grows": 11}, r"free slots and changes self.size from 0 to 11"),
    ({"grows": -1}, r"free slots and changes self.size from 0 to -1"),
    ({"change": lambda positions, slots: Placement.of({})}, r"takes 0 free slots and changes self.size from 0 to"),
]


@pytest.mark.parametrize("n", [10, 200])
@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES)
def test_mistakes_of_a_policy_are_told(mistake: dict[str, Any], sentence: str, n: int) -> None:
    buffer = RehearsalBuffer(CAPACITY, policy=Wrong(**mistake))
    with pytest.raises(BufferInputError, match=f"^`propose` of the policy Wrong .*{sentence}") as error:
        fill(buffer, n, batch_size=n)
    assert one_sentence(error.value)


@pytest.mark.parametrize("n", [10, 200])
def test_a_policy_without_mistakes_passes(n: int) -> None:
    orders: list[Callable[[Tensor, Tensor], Any]] = [
        Placement,
        lambda positions, slots: Placement(positions.flip(0), slots.flip(0)),
    ]
    for change in orders:
        buffer = RehearsalBuffer(CAPACITY, policy=Wrong(change))
        fill(buffer, 4 * n, batch_size=n)
        assert (len(buffer), buffer.n_seen) == (min(CAPACITY, 4 * n), 4 * n)


@pytest.mark.parametrize("n", [10, 200])
def test_a_policy_that_never_stops_to_grow(n: int) -> None:
    class Endless(Policy):
        def propose(self, info: CandidateInfo) -> Placement:
            self.n_seen, self.size = self.n_seen + info.n, self.size + info.n
            return Placement(torch.arange(info.n), torch.arange(self.size - info.n, self.size))

    buffer = RehearsalBuffer(CAPACITY, policy=Endless())
    with pytest.raises(BufferInputError, match=r"Endless returns slots from .* to (309|399); choose from 0 to 299"):
        fill(buffer, 400, batch_size=n)


def test_a_slot_is_given_up_without_a_change_of_size() -> None:
    class Last(Policy):
        def propose(self, info: CandidateInfo) -> Placement:
            self.n_seen += info.n
            self.size = 1
            return Placement.of({0: info.n - 1})

    buffer = RehearsalBuffer(CAPACITY, policy=Last())
    fill(buffer, 30)
    assert buffer.all()["id"].tolist() == [29]


def test_a_policy_that_is_bound_to_no_capacity() -> None:
    with pytest.raises(BufferInputError, match=r"`bind` of the policy BindsAlone has to call super\(\).bind") as error:
        RehearsalBuffer(CAPACITY, policy=BindsAlone())
    assert one_sentence(error.value)


def test_an_argument_that_is_no_attribute() -> None:
    class Forgetful(Wrong):
        def __init__(self, every: int = 1) -> None:
            super().__init__()

    with pytest.raises(BufferInputError, match="Forgetful does not keep its argument every; write self"):
        RehearsalBuffer(CAPACITY, policy=Forgetful())

"""What does not fit is a clear error, and the buffer is then as it was before."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from redwood.buffers import (
    Grasp,
    Herding,
    LossAwareReservoir,
    MaximallyInterfered,
    OldTasks,
    PartitioningReservoir,
    RehearsalBuffer,
    Ring,
)
from tests.buffers.helpers import feed, fill, unchanged


def adding(
    buffer: RehearsalBuffer, samples: object = None, **told: Tensor
) -> tuple[RehearsalBuffer, Callable[[], None]]:
    samples = {"x": torch.zeros(3, 2), "y": torch.arange(3), "task_id": torch.arange(3)} if samples is None else samples
    return buffer, lambda: buffer.add(samples, **told)


X = torch.zeros(3, 2)
BAD_SAMPLES = [
    (adding(RehearsalBuffer(4), {}), "got no leaf"),
    (adding(RehearsalBuffer(4), {"x": X, "y": torch.zeros(2)}), r"with one B, got x \(3, 2\), y \(2,\)"),
    (adding(RehearsalBuffer(4), {"x": X, "y": 3}), "stores tensors, got int for leaf y"),
    (adding(RehearsalBuffer(4), {"x": X, "y": torch.zeros(3, device="meta")}), "are on cpu, got leaf y on meta"),
    (adding(RehearsalBuffer(n_bytes=15), {"x": X}), "n_bytes=15 is less than one sample takes, 16 bytes"),
    (adding(RehearsalBuffer(4, policy=Ring()), {"x": X}), "Ring needs the labels of the samples; add a leaf y"),
    (
        adding(RehearsalBuffer(4, policy=Ring()), labels=torch.zeros(3)),
        r"have to be integers \(B,\), got torch.float32",
    ),
    (adding(RehearsalBuffer(4, policy=Ring()), labels=torch.tensor([0, -2, 1])), "The label -2 is negative"),
    (adding(RehearsalBuffer(4, policy=Ring(), n_classes=2)), "The label 2 has to be below 2"),
    (adding(RehearsalBuffer(4, policy=Ring()), labels=torch.zeros(2).long()), "There are 3 samples, but labels"),
    (adding(RehearsalBuffer(4, policy=Ring()), labels=torch.ones(3, 4).bool()), r"integers \(B,\), got torch.bool"),
    (
        adding(
            RehearsalBuffer(4, policy=PartitioningReservoir(), sampler="class_balanced"), labels=torch.ones(3, 4) > 0
        ),
        r"integers \(B,\), got torch.bool \(3, 4\)",
    ),
    (adding(RehearsalBuffer(4, sampler=OldTasks()), {"x": X}), "OldTasks needs the tasks of the samples"),
    (adding(RehearsalBuffer(4, policy=LossAwareReservoir())), "LossAwareReservoir needs the losses of the samples"),
    (adding(RehearsalBuffer(4, policy=LossAwareReservoir()), losses=X), r"losses have to be of shape \(B,\)"),
    (adding(RehearsalBuffer(4, policy=Herding())), "Herding needs the features of the samples"),
    (adding(RehearsalBuffer(4, sampler=Grasp())), "Grasp needs the features of the samples; pass features="),
]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("case", "message"), BAD_SAMPLES)
def test_a_bad_batch_changes_nothing(
    case: tuple[RehearsalBuffer, Callable[[], None]], message: str, known: bool
) -> None:
    buffer, action = case
    if known and "n_bytes" not in message:
        good = {"x": X, "y": torch.tensor([0, 1, 1]), "task_id": torch.arange(3)}
        buffer.add(good, losses=torch.rand(3), features=torch.rand(3, 2))
        message = f"{message}|stores the leaves x, y, task_id, got|got leaf y|Leaf y"
    with pytest.raises(ValueError, match=message):
        unchanged(buffer, action)()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"x": torch.zeros(3, 2)}, "stores the leaves x, y, got x; add the same ones"),
        ({"x": torch.zeros(3, 3), "y": torch.zeros(3)}, r"Leaf x .* samples \(2,\) torch.float32, got \(3,\)"),
        ({"x": torch.zeros(3, 2).half(), "y": torch.zeros(3)}, r"Leaf x .* got \(2,\) torch.float16; convert it first"),
        ({"x": torch.zeros(3, 2, device="meta"), "y": torch.zeros(3)}, "on cpu, got leaf x on meta"),
    ],
)
def test_samples_unlike_earlier_ones_change_nothing(samples: dict[str, Tensor], message: str) -> None:
    buffer = RehearsalBuffer(4)
    buffer.add({"x": torch.zeros(2, 2), "y": torch.zeros(2)})
    with pytest.raises(ValueError, match=message):
        unchanged(buffer, lambda: buffer.add(samples))()


def test_features_of_another_width_change_nothing() -> None:
    buffer = RehearsalBuffer(4, policy=Herding())
    feed(buffer, torch.arange(9) % 2)
    batch = {name: x[:2] for name, x in buffer.all().items()}
    with pytest.raises(ValueError, match="features had 4 entries so far, got 5"):
        unchanged(buffer, lambda: buffer.add(batch, features=torch.rand(2, 5)))()


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"capacity": 0}, "at least 1 sample, got 0"),
            ({"capacity": -3}, "at least 1 sample, got -3"),
            ({"n_bytes": 0}, "at least 1 byte, got 0"),
            ({}, "either capacity, in samples, or n_bytes"),
            ({"capacity": 3, "n_bytes": 100}, "either capacity, in samples, or n_bytes"),
            ({"capacity": 3, "tier": "tape"}, "no tier 'tape'; choose one of auto, cuda, pinned, host, mmap"),
        ],
    )
    def test_of_a_buffer(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            RehearsalBuffer(**arguments)  # type: ignore[arg-type]

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    @pytest.mark.parametrize("tier", ["cuda", "pinned"])
    def test_tiers_that_need_a_device(self, tier: str) -> None:
        buffer = RehearsalBuffer(4, tier=tier)
        with pytest.raises(ValueError, match=f"The tier {tier} needs a CUDA device, and there is none"):
            unchanged(buffer, lambda: fill(buffer, 3))()

    @pytest.mark.parametrize("n", [0, -1])
    def test_of_a_draw(self, n: int) -> None:
        buffer = RehearsalBuffer(3)
        fill(buffer, 3)
        for action in (buffer.draw, buffer.sample):
            with pytest.raises(ValueError, match=f"at least 1, got {n}"):
                unchanged(buffer, lambda action=action: action(n))()

    def test_scores_that_are_missing(self) -> None:
        buffer = RehearsalBuffer(3, sampler=MaximallyInterfered())
        fill(buffer, 3)
        with pytest.raises(ValueError, match="MaximallyInterfered needs scores of the stored samples; pass rate="):
            unchanged(buffer, lambda: buffer.draw(2))()

    @pytest.mark.parametrize("n_added", [None, 0])
    def test_samples_of_an_empty_buffer(self, n_added: int | None) -> None:
        buffer = RehearsalBuffer(3)
        if n_added is not None:
            buffer.add({"x": torch.zeros(n_added, 2)})
        with pytest.raises(ValueError, match="empty buffer; call `add` first"):
            unchanged(buffer, lambda: buffer.sample(1))()

    def test_of_what_is_told(self) -> None:
        buffer = RehearsalBuffer(3, policy=LossAwareReservoir(), sampler=Grasp())
        feed(buffer, torch.zeros(5).long())
        with pytest.raises(ValueError, match=r"There are 2 rows, but the losses are of shape \(3,\)"):
            unchanged(buffer, lambda: buffer.on_replayed(torch.arange(2), torch.zeros(3)))()
        for features in (torch.zeros(4, 2), torch.zeros(3)):
            with pytest.raises(ValueError, match="There are 3 rows, but the features are of shape"):
                unchanged(buffer, lambda features=features: buffer.refresh(features))()

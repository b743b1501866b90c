"""All leaves of a sample stay together, wherever rows are kept and whatever happens to them."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from redwood.buffers import POLICIES, TIERS, Policy, RehearsalBuffer
from tests.buffers.helpers import features_of, losses_of

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
EVERY_TIER = [pytest.param(tier, marks=needs_cuda if tier in ("cuda", "pinned") else ()) for tier in TIERS]
BATCH_SIZES = [7, 1, 32, 13, 0, 5, 32, 32, 3]


class Targets(NamedTuple):
    logits: Tensor
    flags: list[Tensor]


def samples(ids: Tensor) -> dict[str, Any]:
    """A nested tree of leaves of many kinds, each of which follows from the numbers of the samples."""
    pixels = (ids[:, None] * 7 + torch.arange(15)) % 251
    return {
        "x": pixels.to(torch.uint8).view(-1, 3, 5),
        "id": ids,
        "extra": {
            "targets": Targets((ids[:, None] / 64 + torch.arange(3)).half(), [ids % 2 == 0, (ids * 3).int()]),
            "pair": (ids.double() / 3, torch.complex(ids.float(), -ids.float())),
        },
        "y": ids % 5,
    }


def leaves(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for branch in (tree.values() if isinstance(tree, dict) else tree) for leaf in leaves(branch)]


def check(drawn: dict[str, Any]) -> None:
    """Every leaf belongs to the sample of the same number."""
    for got, wanted in zip(leaves(drawn), leaves(samples(drawn["id"].cpu())), strict=True):
        assert got.dtype == wanted.dtype
        assert torch.equal(got.cpu(), wanted)


def feed(buffer: RehearsalBuffer, device: str, start: int = 0) -> int:
    """Odd batches, an empty and a partial one; returns the number of the next sample."""
    for size in BATCH_SIZES:
        ids = torch.arange(start, start + size)
        batch = torch.utils._pytree.tree_map(lambda leaf: leaf.to(device), samples(ids))
        buffer.add(batch, labels=ids % 5, losses=losses_of(ids), features=features_of(ids))
        if len(buffer):
            check(buffer.sample(9))
        start += size
    return start


@pytest.mark.parametrize("tier", EVERY_TIER)
@pytest.mark.parametrize("policy", POLICIES.values())
def test_leaves_stay_together(tier: str, policy: type[Policy], tmp_path: Path) -> None:
    buffer = RehearsalBuffer(20, policy=policy(), tier=tier, directory=str(tmp_path), seed=1)
    device = "cuda" if tier == "cuda" else "cpu"
    n = feed(buffer, device)
    check(buffer.all())
    assert len(set(buffer.all()["id"].tolist())) == len(buffer) == 20

    torch.save(buffer.state_dict(), tmp_path / "buffer.pt")
    restored = RehearsalBuffer(20, policy=policy(), tier=tier, directory=str(tmp_path))
    restored.load_state_dict(torch.load(tmp_path / "buffer.pt", weights_only=True))
    check(restored.all())
    assert torch.equal(restored.all()["id"], buffer.all()["id"])
    for either in (buffer, restored):
        feed(either, device, n)
    check(restored.all())
    assert torch.equal(restored.all()["id"], buffer.all()["id"])
    assert isinstance(restored.all()["extra"]["targets"], Targets)


def test_ages_and_draw_counts_belong_to_the_stored_samples() -> None:
    buffer = RehearsalBuffer(20, seed=1)
    n, counts = 0, torch.zeros(200, dtype=torch.int64)
    for size in BATCH_SIZES:
        before = set(buffer.all()["id"].tolist()) if n else set()
        buffer.add(samples(torch.arange(n, n + size)))
        n += size
        came = [i for i in buffer.all()["id"].tolist() if i not in before]
        assert min(came, default=n) >= n - size
        counts[buffer.sample(5)["id"]] += 1
        ids = buffer.all()["id"]
        assert torch.equal(buffer.ages(), n - 1 - ids)
        assert torch.equal(buffer.draw_counts(), counts[ids])

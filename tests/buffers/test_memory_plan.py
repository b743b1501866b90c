import warnings

import pytest
import torch

from redwood.buffers import memory_plan
from redwood.buffers.layout import RowLayout
from redwood.buffers.memory_plan import AutomaticTier, FreeMemory, available_on_host, plan_memory

GPU = torch.device("cuda", 0)
LAYOUT = RowLayout.of({"x": torch.zeros(1, 25)})  # 100 bytes, filled up to 112


@pytest.mark.parametrize(
    ("n_rows", "staged", "free", "tier"),
    [
        (100, 0, FreeMemory(14_934, 0), "cuda"),
        (100, 0, FreeMemory(14_933, 22_400), "pinned"),
        (100, 1, FreeMemory(14_934, 22_400), "pinned"),
        (100, 1, FreeMemory(15_083, 0), "cuda"),
        (100, 0, FreeMemory(14_933, 22_399), "host"),
    ],
)
def test_the_fastest_tier_with_room_for_all_rows(n_rows: int, staged: int, free: FreeMemory, tier: str) -> None:
    plan = plan_memory(LAYOUT, n_rows, staged, free)
    assert (plan.tier, plan.n_bytes, plan.free) == (tier, 112 * n_rows, free)


def test_one_warning_names_bytes_and_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "free_memory", lambda device: FreeMemory(14_000, 10**6))
    choose = AutomaticTier(GPU, staged=16, is_settled=True)
    message = "^100 rows take 11,200 bytes, more than 75% of the 14,000 bytes that a step leaves free on cuda:0"
    with pytest.warns(UserWarning, match=message):
        assert choose(LAYOUT, 100) == "pinned"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(LAYOUT, 100) == "pinned"
        assert AutomaticTier(GPU, staged=16, is_settled=True)(LAYOUT, 10) == "cuda"


def test_rows_wait_on_the_host_for_a_full_step() -> None:
    assert AutomaticTier(GPU, staged=16)(LAYOUT, 1) == "host"


def test_free_memory_is_what_the_peak_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"mem_get_info": (1000, 9000), "memory_reserved": 700, "max_memory_allocated": 300, "device_count": 4}
    for name, fact in facts.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, fact=fact: fact)
    monkeypatch.setattr(memory_plan, "available_on_host", lambda: 8000)
    assert memory_plan.free_memory(GPU) == FreeMemory(gpu=1400, host=2000)


def test_the_host_has_memory() -> None:
    assert 2**20 < available_on_host() < 2**50

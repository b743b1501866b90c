import pytest
import torch
from torch import nn

from redwood.methods.architecture.masked_update import MaskedUpdate

OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1),
}


def step(layer, optimizer):
    optimizer.zero_grad()
    layer(torch.ones(2, 5)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_entries_stay_bit_for_bit_and_all_others_move(name):
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    optimizer = OPTIMIZERS[name](layer.parameters())
    step(layer, optimizer)  # so that there is momentum to carry on with
    frozen = torch.rand(4, 5) < 0.5
    before = layer.weight.detach().clone()
    update = MaskedUpdate(lambda: [(layer.weight, frozen), (layer.bias, torch.zeros(4, dtype=torch.bool))])
    update.freeze()
    for _ in range(3):
        step(layer, optimizer)
        update.restore()
    assert torch.equal(layer.weight[frozen], before[frozen])
    assert not bool((layer.weight == before)[~frozen].any())


def test_what_is_frozen_can_be_chosen_anew():
    layer = nn.Linear(5, 4)
    chosen = [(layer.weight, torch.ones(4, 5, dtype=torch.bool))]
    update = MaskedUpdate(lambda: chosen)
    update.freeze()
    chosen.clear()
    update.freeze()
    before = layer.weight.detach().clone()
    step(layer, OPTIMIZERS["momentum"](layer.parameters()))
    update.restore()
    assert not torch.equal(layer.weight, before)

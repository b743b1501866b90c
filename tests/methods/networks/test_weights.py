"""Weights of a file: what is loaded, what is replaced, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from redwood.core.errors import InvalidOptionError
from redwood.methods.networks import build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.weights import load_weights
from tests.methods.helpers import one_sentence
from tests.methods.networks.spaces import images

SPACE = images(3, 32, 32)
SMALL = "shufflenet_v2_x0_5"
Change = Callable[[dict[str, Tensor]], object]


def published(n_outputs: int = 7) -> nn.Module:
    torch.manual_seed(5)
    return models.get_model(SMALL, weights=None, num_classes=n_outputs).eval()


def loaded(path: Path, n_outputs: int, name: str = SMALL) -> nn.Module:
    torch.manual_seed(1)
    network = build_network(name, SPACE, n_outputs, AsPublished(side=32))
    load_weights(network, name, path, SPACE)
    return network


FILES: dict[str, Change] = {
    "a state dict": lambda state: state,
    "older than the counters": lambda s: {key: value for key, value in s.items() if "num_batches" not in key},
    "wrapped by DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "with the names of redwood": lambda state: {f"model.{key}": value for key, value in state.items()},
    "a whole training state": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}},
}


@pytest.mark.parametrize("form", FILES)
def test_all_weights_are_loaded_where_the_head_has_the_same_size(form: str, tmp_path: Path) -> None:
    state = published().state_dict()
    torch.save(FILES[form](state), tmp_path / "weights.pth")
    own = loaded(tmp_path / "weights.pth", 7).state_dict()
    assert all(torch.equal(own[f"model.{key}"], state[key]) for key in state)


def test_safetensors(tmp_path: Path) -> None:
    state = published().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    own = loaded(tmp_path / "weights.safetensors", 7).state_dict()
    assert all(torch.equal(own[f"model.{key}"], state[key]) for key in state)


@pytest.mark.parametrize("without", [False, True])
def test_a_head_of_another_size_or_none_keeps_new_weights(without: bool, tmp_path: Path) -> None:
    state = published().state_dict()
    state = {key: value for key, value in state.items() if not (without and key.startswith("fc."))}
    torch.save(state, tmp_path / "weights.pth")
    torch.manual_seed(1)
    fresh = build_network(SMALL, SPACE, 4, AsPublished(side=32)).state_dict()
    own = loaded(tmp_path / "weights.pth", 4).state_dict()
    for key, value in own.items():
        expected = fresh[key] if key.startswith("model.fc.") else state[key.removeprefix("model.")]
        assert torch.equal(value, expected)


def test_half_precision_is_converted(tmp_path: Path) -> None:
    state = {key: v.half() if v.is_floating_point() else v for key, v in published().state_dict().items()}
    torch.save(state, tmp_path / "weights.pth")
    assert {value.dtype for value in loaded(tmp_path / "weights.pth", 7).parameters()} == {torch.float32}


def test_auxiliary_heads_of_published_files_are_left_out(tmp_path: Path) -> None:
    whole = models.googlenet(weights=None, num_classes=4, aux_logits=True, init_weights=False)
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    network = loaded(tmp_path / "weights.pth", 4, "googlenet")
    assert torch.equal(network.state_dict()["model.fc.weight"], whole.fc.weight)


def without_bias(state: dict[str, Tensor]) -> object:
    return {key: value for key, value in state.items() if key not in ("conv1.1.bias", "conv5.1.bias")}


WRONG: dict[str, tuple[Change | bytes | None, str]] = {
    "absent": (None, "does not exist; give the path"),
    "no file of weights": (b"no weights", r"cannot be read \(.*\); save a state dict"),
    "a list": (lambda state: [1, 2], "holds no state dict"),
    "nothing": (lambda state: {}, "holds no state dict"),
    "a whole network": (lambda state: nn.Linear(2, 2), "cannot be read"),
    "one missing": (without_bias, "conv1.1.bias is missing in the file, as are 1 more"),
    "one too many": (lambda state: state | {"more.weight": torch.ones(2)}, "more.weight is only in the file; give"),
    "another shape": (
        lambda state: state | {"conv1.0.weight": torch.ones(2, 3, 3, 3)},
        r"conv1.0.weight differs in shape, \(2, 3, 3, 3\) in the file and \(24, 3, 3, 3\) in the network",
    ),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("case", WRONG)
def test_files_that_do_not_fit(case: str, suffix: str, tmp_path: Path) -> None:
    change, sentence = WRONG[case]
    path = tmp_path / f"weights.{suffix}"
    if isinstance(change, bytes):
        path.write_bytes(change)
    elif change is not None:
        content = change(published().state_dict())
        if suffix == "safetensors" and not (isinstance(content, dict) and content):
            pytest.skip("safetensors hold tensors by name alone")
        (torch.save if suffix == "pth" else save_file)(content, path)  # type: ignore[operator]
    with pytest.raises(InvalidOptionError, match=f"--weights {re.escape(str(path))} .*{sentence}") as error:
        loaded(path, 7)
    assert one_sentence(error.value)

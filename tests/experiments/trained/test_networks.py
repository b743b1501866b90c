"""A run whose network started from a file is loaded without the file."""

from pathlib import Path
from typing import Any

import pytest
import torch

import redwood
from redwood.methods import get_method
from redwood.methods.networks import build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.parts import PublishedNetwork
from tests.small_runs import small_setting

SPACE = small_setting("class_incremental").observation_space
TORCHVISION, TIMM = "shufflenet_v2_x0_5", "timm:test_vit"


@pytest.mark.parametrize(
    ("method", "model", "options"),
    [
        ("rehearsal", TORCHVISION, {}),
        ("rehearsal", TIMM, {"trainable": "last_block"}),
        ("ewc", TIMM, {"trainable": "lora"}),
        ("finetune", TORCHVISION, {"trainable": "lora"}),
        ("slda", TORCHVISION, {}),
        ("hard_moe", "mlp", {"backbone": TORCHVISION}),
    ],
)
@pytest.mark.few(2)
def test_a_round_trip(method: str, model: str, options: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    made: Any = build_network(model if method != "hard_moe" else TORCHVISION, SPACE, 7, AsPublished(side=32))
    weights = tmp_path / "weights.pth"
    torch.save(made.model.state_dict(), weights)
    if method == "slda":
        options = {"backbone": model, "backbone_weights": str(weights)}
    elif method == "hard_moe":
        options = {"model": model, "backbone_weights": str(weights)} | options
    else:
        options = {"model": PublishedNetwork(model, str(weights), input_size=32, **options)}
    setting = small_setting("class_incremental", passes=1, nb_tasks=2)
    learner = get_method(method)(**options)
    setting.apply(learner, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
    x = setting.dataset.source.x_test
    wanted = learner.predict(x, None)
    weights.unlink()
    trained = redwood.load(tmp_path / "run", device="cpu")
    assert torch.equal(trained.scores(x), wanted)

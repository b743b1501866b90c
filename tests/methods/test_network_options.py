"""Methods whose network starts from a file, or is trained in part: runs, states, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from redwood.branches.streaming.slda import SLDA
from redwood.core.errors import DataError, InvalidOptionError
from redwood.engine.run import Run
from redwood.methods import get_method
from redwood.methods.baselines import Finetune, Joint
from redwood.methods.networks import build_network
from redwood.methods.networks.inputs import AsPublished
from redwood.methods.networks.parts import GivenNetwork, Network, PublishedNetwork
from tests.methods.helpers import configured, one_sentence
from tests.small_runs import comparable, run_here, small_setting

SPACE = small_setting("class_incremental").observation_space
TIMM = "timm:test_resnet"


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A file of weights of a small timm model for seven classes."""
    return save(tmp_path / "weights.pth", seed=4)


def save(path: Path, seed: int) -> str:
    torch.manual_seed(seed)
    network = build_network(TIMM, SPACE, 7, AsPublished(side=16))
    torch.save(network.model.state_dict(), path)  # type: ignore[union-attr,operator]
    return str(path)


def options(weights: str, trainable: str = "all") -> dict[str, Any]:
    return {"model": PublishedNetwork(TIMM, weights, trainable, input_size=16)}


def frozen(method: Any) -> dict[str, torch.Tensor]:
    state = method.network.state_dict()
    learned = {name for name, p in method.network.named_parameters() if p.requires_grad}
    # What a mixture keeps beside its networks is learned, too, without gradients.
    return {name: state[name].clone() for name in state if name not in learned and "." in name}


# One of each way to look at the weights of a network.
METHODS = [
    "rehearsal",
    "ewc",
    "si",
    "mas",
    "rwalk",
    "agem",
    "lwf",
    "icarl",
    "bic",
    "wa",
    "der_pp",
    "hard_moe",
    "packnet",
]
QUICK = ("ewc", "lwf", "packnet")


class Watch:
    """Notes what is frozen before the run."""

    def configure(self, setting: Any) -> None:
        super().configure(setting)  # type: ignore[misc]
        self.before = frozen(self)


@pytest.mark.parametrize("trainable", ["head", "lora"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in METHODS])
@pytest.mark.few(2)
def test_methods_leave_frozen_weights_and_statistics_as_they_are(name: str, trainable: str) -> None:
    cls = get_method(name)
    method: Any = type(f"Watched{cls.__name__}", (Watch, cls), {})(model=Network("slim_resnet18", trainable=trainable))
    run_here(small_setting("task_incremental", passes=1, nb_tasks=2), method)
    after = method.network.state_dict()
    assert len(method.before) > 50
    assert all(torch.equal(value, after[key]) for key, value in method.before.items())


@pytest.mark.parametrize("trainable", ["all", "last_block", "head", "lora"])
@pytest.mark.few(1)
def test_another_method_goes_on_from_the_state_without_the_file(trainable: str, weights: str) -> None:
    setting = small_setting("class_incremental", passes=1)
    method = get_method("rehearsal")(**options(weights, trainable))
    run_here(setting, method)
    Path(weights).unlink()
    again = get_method("rehearsal")(**options(weights, trainable))
    run = Run(accelerator="cpu")
    run.is_trained = True
    again.attach(run)
    again.configure(setting.for_method())
    again.load_state_dict(method.state_dict())
    x = setting.dataset.source.x_test
    assert torch.equal(again.predict(x, None), method.predict(x, None))


def test_every_run_starts_from_the_file(weights: str) -> None:
    given = torch.load(weights)
    method = configured(Finetune(**options(weights, "head")))
    own = method.network.state_dict()
    assert all(torch.equal(own[f"model.{key}"], given[key]) for key in given if not key.startswith("fc."))
    before = method.network.model.fc.weight.clone()  # type: ignore[union-attr,operator]
    method.reset_network()
    assert not torch.equal(method.network.model.fc.weight, before)  # type: ignore[union-attr,arg-type]
    assert torch.equal(method.network.state_dict()["model.conv1.0.weight"], given["conv1.0.weight"])


@pytest.mark.slow
def test_parameters_and_flops_of_parts() -> None:
    costs = {}
    for trainable in ("all", "last_block", "head", "lora"):
        method = Finetune(model=Network("slim_resnet18", trainable=trainable))
        run_here(small_setting("class_incremental", passes=1), method)
        costs[trainable] = method.costs()
    flops = [costs[name]["training_flops"] for name in ("head", "last_block", "all")]
    assert flops == sorted(set(flops))
    assert costs["head"]["parameters"] == costs["all"]["parameters"] < costs["lora"]["parameters"]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("trainable", ["head", "lora"])
@pytest.mark.few(1)
def test_a_resumed_run_ends_alike(trainable: str, weights: str, tmp_path: Path, monkeypatch: Any) -> None:
    setting, method = small_setting("class_incremental", passes=1), get_method("ewc")
    expected = run_here(setting, method(**options(weights, trainable), optimizer_state="keep"))
    stop_at_phase(1, monkeypatch, setting, method(**options(weights, trainable), optimizer_state="keep"), tmp_path)
    again = method(**options(weights, trainable), optimizer_state="keep")
    resumed = run_here(setting, again, run_dir=str(tmp_path / "run"), resume=True)
    assert comparable(resumed) == comparable(expected)


def test_a_run_resumes_with_the_file_that_it_started_from(weights: str, tmp_path: Path, monkeypatch: Any) -> None:
    setting = small_setting("cumulative", passes=1)
    stop_at_phase(1, monkeypatch, setting, Joint(**options(weights)), tmp_path)
    save(Path(weights), seed=5)
    with pytest.raises(DataError, match="is not the file that the run started from") as error:
        run_here(setting, Joint(**options(weights)), run_dir=str(tmp_path / "run"), resume=True)
    assert one_sentence(error.value)


def stop_at_phase(index: int, monkeypatch: Any, setting: Any, method: Any, folder: Path) -> None:
    fit = type(method).fit

    def stop(self: Any, phase: Any) -> None:
        if phase.index == index:
            raise Stopped
        fit(self, phase)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(type(method), "fit", stop)
        run_here(setting, method, run_dir=str(folder / "run"))


def test_a_function_of_the_user(tmp_path: Path) -> None:
    code = """
        from torch import nn

        class Scaled(nn.Flatten):
            def forward(self, x):
                return super().forward(x.float() / 16)

        def make(observation_space, n_outputs):
            return nn.Sequential(Scaled(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, n_outputs))
        """
    (tmp_path / "own.py").write_text("\n".join(line[8:] for line in code.splitlines()))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(network.state_dict(), tmp_path / "own.pth")
    name = f"{tmp_path / 'own.py'}:make"
    for trainable in ("head", "lora"):
        method = Finetune(model=Network(name, str(tmp_path / "own.pth"), trainable))
        run_here(small_setting("class_incremental", passes=1), method)
        state = method.network.state_dict()
        kept = state["1.weight"] if trainable == "head" else state["1.base_layer.weight"]
        assert torch.equal(kept, network[1].weight)


def test_weights_see_the_same_input_however_the_network_is_chosen(weights: str) -> None:
    x = torch.rand(3, *SPACE.shape) * 16
    models: list[Any] = [Network(TIMM, weights), PublishedNetwork(TIMM, weights), {TIMM: {"weights": weights}}]
    networks = [configured(Finetune(model=model)).network.eval() for model in models]
    expected = networks[0](x)
    assert all(torch.equal(network(x), expected) for network in networks[1:])
    assert not torch.equal(build_network(TIMM, SPACE, 7).eval()(x)[:, :7], expected[:, :7])


def test_a_module_given_from_python_is_trained_in_part() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)).double()
    network[1].register_forward_pre_hook(lambda module, args: (args[0].double(),))
    method = Finetune(model=GivenNetwork(network, trainable="lora"))
    setting = small_setting("class_incremental", passes=1)
    first = run_here(setting, method, precision="64-true")
    assert comparable(run_here(setting, method, precision="64-true")) == comparable(first)
    assert all(p.requires_grad for p in network.parameters())
    method.reset_network()
    assert torch.equal(method.network[2].base_layer.weight, network[2].weight)  # type: ignore[index]


def test_streaming_methods_take_timm_and_safetensors(weights: str) -> None:
    method = SLDA(backbone="timm:test_resnet.r160_in1k", backbone_weights=weights)
    run_here(small_setting("online_class_incremental", dataset=few()), method)
    assert method.backbone_network.network[0].side == 160


def few() -> Any:
    data = small_setting("class_incremental").dataset.source
    return replace(data, x=data.x[:60], y=data.y[:60], x_test=data.x_test[:30], y_test=data.y_test[:30])


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        (
            "finetune",
            {"model": Network(weights="none.pth")},
            "--weights none.pth does not exist; give the path of a state dict",
        ),
        ("finetune", {"model": {"resnet18": {"input_size": -1}}}, "--input_size -1"),
        ("finetune", {"model": {"auto": {"input_size": 32}}}, "--model auto has no option input_size; leave it out"),
        (
            "finetune",
            {"model": {"mlp": {"widths": [0]}}},
            "--widths 0 has to be a number of units for each hidden layer",
        ),
        ("finetune", {"model": {"mlp": {"deviation": 0.0}}}, "--deviation 0.0 has to be at least"),
        ("finetune", {"model": Network(trainable="last_block")}, "in auto none can be told"),
        ("mntdp", {"model": Network(trainable="head")}, "--trainable head does not go with mntdp, which builds"),
        ("finetune_from", {"model": Network(weights="a.pth")}, "--weights a.pth does not go with finetune_from"),
        (
            "hard_moe",
            {"expert_models": ["mlp"], "model": Network(trainable="head")},
            "--trainable head does not go with hard_",
        ),
    ],
)
def test_refused(name: str, given: dict[str, Any], sentence: str) -> None:
    setting = "task_incremental" if name in ("mntdp", "finetune_from") else "class_incremental"
    with pytest.raises(InvalidOptionError, match=sentence) as error:
        configured(get_method(name)(**given), setting)
    assert one_sentence(error.value)

"""Every example runs, and does what its docstring says."""

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from redwood.buffers import AsyncRehearsalBuffer
from redwood.cli import main
from redwood.methods import get_method
from redwood.methods.baselines import Finetune, Random
from redwood.settings import Results, get_setting
from redwood.settings.tree import CumulativeSetting, Online, OnlineClassIncrementalSetting, TaskIncrementalSetting

EXAMPLES = Path(__file__).parent.parent / "examples"
TESTED = {
    "async_rehearsal",
    "drifting_words",
    "grown_losses",
    "hugging_face",
    "label_smoothing",
    "nearest_mean",
    "new_setting",
    "noisy_labels",
    "own_environment",
    "own_network_and_data",
    "plain_pytorch",
    "python_api",
    "ray_train",
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_no_example_goes_untested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_a_method_in_one_file_applies_to_a_setting_that_it_never_heard_of() -> None:
    method = get_method(f"{EXAMPLES / 'label_smoothing.py'}:LabelSmoothing")
    results = TaskIncrementalSetting(passes=5).apply(method(epsilon=0.2), quiet=True)
    assert results.objective > 0.8
    assert results.config["epsilon"] == 0.2
    assert results.method.endswith("label_smoothing.py:LabelSmoothing")


def test_a_tensor_of_ones_own_is_stored_with_each_sample() -> None:
    method = get_method(f"{EXAMPLES / 'grown_losses.py'}:GrownLosses")(growth=2.0)
    setting = get_setting("class_incremental")(passes=2)
    assert setting.apply(method, quiet=True).objective > setting.apply(Finetune(), quiet=True).objective + 0.1
    stored = method.state_dict()["replay"]["rows"]["first_loss"]
    assert len(stored) == method.buffer_size and (stored > 0).all()


def test_an_assumption_a_stream_and_results_of_ones_own(tmp_path: Path) -> None:
    setting = get_setting(f"{EXAMPLES / 'noisy_labels.py'}:NoisyLabels")
    assert "noisy_labels" in setting.assumptions
    served = setting(nb_tasks=2, noise=0.6, passes=1)
    shown = [torch.cat([batch.y for batch in phase.train]) for phase in served.phases()]
    results = served.apply(Random(), quiet=True, run_dir=str(tmp_path))
    first, last = results.to_dict()["wrong_labels"]
    assert 0.1 < first < last < 0.6
    # Labels are exchanged within a task, so the counts stay.
    true = [torch.cat([batch.y for batch in phase.train]) for phase in setting(nb_tasks=2, noise=0.0).phases()]
    assert all(torch.equal(one.bincount(), other.bincount()) for one, other in zip(shown, true, strict=True))
    assert type(Results.load(tmp_path / "results.json")) is type(results)


def test_a_report_reads_results_of_ones_own_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = ["--setting", f"{EXAMPLES / 'noisy_labels.py'}:NoisyLabels", "--method", "random", "--nb_tasks", "2"]
    assert main([*pair, "--passes", "1", "--run_dir", str(tmp_path)]) == 0
    # Another process has not imported the file.
    program = [sys.executable, "-W", "always", "-m", "redwood", "report", str(tmp_path)]
    told = [subprocess.run([*program, *more], capture_output=True, text=True) for more in ([], ["--trust"])]
    assert [done.returncode for done in told] == [0, 0]
    assert "was not loaded, so that its own entries are left out" in told[0].stderr and not told[1].stderr


def test_a_new_setting_joins_the_promises_of_its_parents() -> None:
    setting = get_setting(f"{EXAMPLES / 'new_setting.py'}:OnlineMemory")
    assert issubclass(setting, Online) and issubclass(setting, CumulativeSetting)
    results = setting(nb_tasks=2).apply(Random(), quiet=True)
    first, second = (len(phase.train) for phase in setting(nb_tasks=2).phases())
    assert second > first
    assert len(results.accuracy_matrix) == 2


@pytest.mark.slow
def test_the_python_api_orders_the_methods() -> None:
    accuracy = load("python_api").main(passes=10)
    assert accuracy["Finetune"] < 0.3 < 0.8 < accuracy["Rehearsal"]
    assert accuracy["EWCRehearsal"] > 0.8


def test_own_network_and_data_learn() -> None:
    assert load("own_network_and_data").main() > 0.85


def test_a_data_set_of_hugging_face_is_learned_with_the_names_of_its_classes() -> None:
    accuracy = load("hugging_face").main()
    assert list(accuracy)[:2] == ["zero", "one"] and sum(accuracy.values()) / 10 > 0.8


def test_own_data_serve_the_command_line() -> None:
    name = f"{EXAMPLES / 'own_network_and_data.py'}:wine"
    assert name.rpartition("/")[2] in load("own_network_and_data").wine.__doc__
    setting = OnlineClassIncrementalSetting(dataset=name, nb_tasks=3)
    assert setting.observation_space.shape == (13,)
    assert setting.apply(Random(), quiet=True).cost.training_samples == 133


def test_an_environment_of_ones_own_is_learned() -> None:
    returns = load("own_environment").main()
    assert returns["random"] < 12 < 18 < returns["ppo"]


def test_a_method_without_lightning_has_no_forward_transfer() -> None:
    method = load("nearest_mean").NearestMean()
    results = OnlineClassIncrementalSetting().apply(method, quiet=True)
    assert results.objective > 0.85
    assert results.metrics["forward_transfer"] is None


def test_the_buffer_in_plain_pytorch_keeps_the_past() -> None:
    """As the page on buffers shows it, down to the letter."""
    torch.manual_seed(0)
    centers = torch.randn(4, 20)
    stream = [(centers[c] + torch.randn(16, 20), torch.full((16,), c)) for c in range(4) for _ in range(20)]
    network = torch.nn.Linear(20, 4)
    train = load("plain_pytorch").train
    buffer = train(network, torch.optim.SGD(network.parameters(), lr=0.1), stream, capacity=40)
    assert buffer.class_counts() == dict.fromkeys(range(4), 10)
    first, labels = stream[0]
    assert (network(first).argmax(1) == labels).float().mean() > 0.8
    assert inspect.getsource(train) in (EXAMPLES.parent / "docs" / "buffers.md").read_text()


def test_a_strangers_module_keeps_the_past_with_asynchronous_rehearsal() -> None:
    accuracies = load("async_rehearsal").main()
    assert accuracies["without rehearsal"] < 0.3 < 0.8 < accuracies["with rehearsal"]


@pytest.mark.slow
def test_it_does_so_on_two_workers_that_are_started_by_torchrun() -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(EXAMPLES / "async_rehearsal.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    without, rehearsed = (float(line.split()[-1]) for line in done.stdout.splitlines() if "accuracy" in line)
    assert without < 0.3 < 0.7 < rehearsed


def test_the_loop_on_its_page_keeps_the_past() -> None:
    page = (EXAMPLES.parent / "docs" / "own_loop.md").read_text()
    block = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def train(" in block)
    names: dict[str, Any] = {"__name__": "loop"}
    exec(block, names)
    memory, network = AsyncRehearsalBuffer(20, replay=4, policy="class_balanced"), torch.nn.Linear(3, 2)
    memory.open()
    batches = [(torch.randn(8, 3), torch.full((8,), label)) for label in (0, 1) for _ in range(5)]
    names["train"](network, torch.optim.SGD(network.parameters(), lr=0.1), batches, memory)
    memory.close()
    assert memory.buffer.class_counts() == {0: 10, 1: 10}
    assert memory.profiler.drawn == 9 * 4


def test_words_that_drift(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fine-tuning follows the moving words and forgets the first text; replay remembers more of it."""
    found = load("drifting_words").main(str(tmp_path / "figure.png"), n_sentences=200, passes=4, seeds=1)
    remembered, old, new = (
        {method: curves[name] for method, curves in found.items()} for name in load("drifting_words").MEASURED
    )
    assert remembered["replay"][-1] > remembered["fine-tuning"][-1] + 0.02
    assert old["fine-tuning"][0] > 0.8 and old["fine-tuning"][-1] < 0.2 < 0.6 < new["fine-tuning"][-1]
    assert (tmp_path / "figure.png").exists()
    output = capsys.readouterr().out
    assert re.search(r"period 3\n  in:  .*song.*\n  out: .*(banana|memo)", output), "members come and go"


@pytest.mark.slow
def test_ray_train(tmp_path: Path) -> None:
    """Workers that Ray has started join one buffer: each step after the first one replays."""
    pytest.importorskip("ray.train.lightning")
    import ray

    example = load("ray_train")
    ray.cloudpickle.register_pickle_by_value(example)
    ray.init(num_cpus=4, log_to_driver=False, logging_level="error")
    try:
        found = example.main(str(tmp_path))
    finally:
        ray.shutdown()
    assert json.loads(found) == {"workers": 2, "samples of each step": [8, 12, 12, 12]}

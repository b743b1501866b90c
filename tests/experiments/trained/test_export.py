"""Exported runs: other programs answer as the run does, and loading them unpickles nothing."""

import json
import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import redwood
from redwood.cli import main
from redwood.experiments.trained import export as export_module
from redwood.experiments.trained.export import export_model
from redwood.methods import get_method
from redwood.methods.agents.on_policy import PPO
from redwood.methods.baselines import Finetune
from redwood.methods.distillation.icarl import ICaRL
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings import Dataset
from redwood.settings.rl.tree import IncrementalRLSetting
from tests.cli.command import assert_one_sentence, content
from tests.experiments.trained.answers import SAMPLES
from tests.label_sets import few_label_sets
from tests.methods.helpers import refused
from tests.regression import line
from tests.small_runs import run_here, small_setting

NETWORKS = ["mlp", "slim_resnet18", "timm:test_resnet"]
DESCRIPTIONS = {"README.md", "config.yaml", "labels.json", "normalisation.json", "results.json"}

# A program that knows nothing of redwood: model, samples, task ids (or nothing), answers.
BARE = """
import sys, numpy as np, torch
model = torch.export.load(sys.argv[1]).module()
inputs = [torch.from_numpy(np.load(path)) for path in sys.argv[2:-1]]
np.save(sys.argv[-1], model(*inputs).numpy(force=True))
assert not any(name.startswith("redwood") for name in sys.modules)
"""


def train(folder, method=None, setting="class_incremental", **options):
    learner = method or Rehearsal()
    run_here(small_setting(setting, **options), learner, run_dir=str(folder))
    return learner


def exported(folder, form, out):
    export_model(redwood.load(folder, device="cpu"), form, out)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    return folder, train(folder)


@pytest.fixture(scope="module", params=NETWORKS)
def with_network(request, tmp_path_factory):
    """A run with this network, its own scores, and an empty folder."""
    if request.param.startswith("timm:"):
        pytest.importorskip("timm")
    folder = tmp_path_factory.mktemp("export")
    method = train(folder / "run", Finetune(model=request.param))
    return folder / "run", method.predict(SAMPLES, None), folder


def in_bare_torch(file, inputs, tmp_path):
    paths = [tmp_path / f"input{number}.npy" for number in range(len(inputs))]
    for path, value in zip(paths, inputs, strict=True):
        np.save(path, value)
    arguments = [str(path) for path in (file, *paths, tmp_path / "answers.npy")]
    subprocess.run([sys.executable, "-c", BARE, *arguments], check=True, cwd=tmp_path, env={"PATH": ""})
    return torch.from_numpy(np.load(tmp_path / "answers.npy"))


def in_onnx(file, **inputs):
    session = pytest.importorskip("onnxruntime").InferenceSession(file)
    (scores,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(scores)


def assert_alike(answers, wanted):
    """Equal classes, and scores within 1e-5."""
    assert answers.shape == wanted.shape
    assert torch.equal(answers.argmax(1), wanted.argmax(1))
    torch.testing.assert_close(answers, wanted, rtol=1e-5, atol=1e-5)


class TestNetworks:
    @pytest.mark.few(1)
    def test_onnx_runtime_answers_alike(self, with_network):
        run, wanted, folder = with_network
        out = exported(run, "onnx", folder / "onnx")
        for n in (1, 7, len(SAMPLES)):
            assert_alike(in_onnx(out / "model.onnx", x=SAMPLES[:n]), wanted[:n])

    @pytest.mark.slow
    def test_bare_torch_answers_alike(self, with_network, tmp_path):
        run, wanted, folder = with_network
        out = exported(run, "torch_export", folder / "torch")
        assert_alike(in_bare_torch(out / "model.pt2", [SAMPLES], tmp_path), wanted)
        assert_alike(torch.export.load(out / "model.pt2").module()(SAMPLES[:1]).detach(), wanted[:1])

    def test_redwood_answers_bit_for_bit(self, with_network):
        run, wanted, folder = with_network
        assert torch.equal(redwood.load(exported(run, "safetensors", folder / "tensors")).scores(SAMPLES), wanted)


@pytest.fixture(scope="module")
def forms(finished, tmp_path_factory):
    """The folder of each export of one run, which is as it was."""
    run, _ = finished
    before, folder = content(run), tmp_path_factory.mktemp("forms")
    made = {form: exported(run, form, folder / form) for form in export_module.FILES}
    assert content(run) == before
    return made


class TestFolder:
    @pytest.mark.parametrize("form", export_module.FILES)
    def test_it_describes_the_model(self, finished, forms, form):
        run, out = finished[0], forms[form]
        assert {path.name for path in out.iterdir()} == DESCRIPTIONS | {export_module.FILES[form]}
        assert yaml.safe_load((out / "config.yaml").read_text()) == yaml.safe_load((run / "config.yaml").read_text())
        assert json.loads((out / "results.json").read_text()) == json.loads((run / "results.json").read_text())
        assert json.loads((out / "labels.json").read_text()) == {"class_names": list("0123456789")}
        scaling = json.loads((out / "normalisation.json").read_text())
        assert (scaling["shape"], scaling["dtype"], scaling["high"]) == ([1, 8, 8], "uint8", 16.0)
        assert scaling["layers"] == {"network.scale": {"gain": [0.125], "bias": [-1.0]}}

    def test_the_card_has_the_results_and_says_what_is_stored(self, finished, forms):
        results = json.loads((finished[0] / "results.json").read_text())
        card = (forms["safetensors"] / "README.md").read_text()
        head = yaml.safe_load(card.split("---")[1])
        assert head["library_name"] == "redwood" and "rehearsal" in head["tags"]
        assert f"| average_accuracy | {results['metrics']['average_accuracy']:.4f} |" in card
        assert 'redwood.load("safetensors")' in card and "stored training samples" in card.replace("\n", " ")
        assert "stored" not in (forms["onnx"] / "README.md").read_text().partition("## Use")[2]

    def test_the_code_of_the_card_runs(self, finished, forms, monkeypatch):
        for form, answer in (("onnx", "scores"), ("torch_export", "scores"), ("safetensors", "model.scores(x)")):
            monkeypatch.chdir(forms[form].parent)
            values = {"x": SAMPLES.numpy() if form == "onnx" else SAMPLES}
            exec((forms[form] / "README.md").read_text().split("```python\n")[1].split("```")[0], values)
            found = torch.as_tensor(eval(answer, values))
            assert_alike(found.detach(), finished[1].predict(SAMPLES, None))

    def test_no_file_holds_a_pickle(self, forms):
        parts = {}
        for path in (path for out in forms.values() for path in out.iterdir()):
            parts[path] = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    parts |= {(path, name): archive.read(name) for name in archive.namelist()}
        for part in parts.values():
            with pytest.raises(ValueError):
                list(pickletools.genops(part))


def test_features_of_any_range(tmp_path):
    x = 1500 + 100 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_arrays(x, torch.arange(40) % 4, x, torch.arange(40) % 4)
    train(tmp_path / "run", dataset=data)
    exported(tmp_path / "run", "torch_export", tmp_path / "out")
    assert (tmp_path / "out" / "model.pt2").is_file()


class TestMethods:
    @pytest.mark.parametrize("method", ["ncm", "slda", "lwf_mc", "bic", "moving_window"])
    @pytest.mark.few(1)
    def test_what_makes_scores_of_tensors_is_a_graph(self, method, tmp_path):
        learner = train(tmp_path / "run", get_method(method)())
        out = exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        assert_alike(in_onnx(out / "model.onnx", x=SAMPLES).float(), learner.predict(SAMPLES, None).float())

    def test_a_step_that_onnx_lacks(self, tmp_path):
        learner = train(tmp_path / "run", ICaRL())
        with refused("icarl has a step that ONNX lacks; use --format torch_export"):
            exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        out = exported(tmp_path / "run", "torch_export", tmp_path / "torch")
        assert_alike(torch.export.load(out / "model.pt2").module()(SAMPLES), learner.predict(SAMPLES, None))

    def test_task_ids_are_a_second_input(self, tmp_path):
        learner = train(tmp_path / "run", Finetune(), "task_incremental")
        ids = torch.arange(len(SAMPLES)) % 3
        wanted = learner.predict(SAMPLES, ids)
        out = exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        assert_alike(in_onnx(out / "model.onnx", x=SAMPLES, task_id=ids), wanted)
        file = exported(tmp_path / "run", "torch_export", tmp_path / "torch") / "model.pt2"
        assert_alike(torch.export.load(file).module()(SAMPLES, ids).detach(), wanted)

    @pytest.mark.parametrize(("key", "data"), [("continual", line()), ("continual", few_label_sets(contexts=False))])
    @pytest.mark.few(1)
    def test_numbers_and_label_sets(self, tmp_path, key, data):
        learner = train(tmp_path / "run", Finetune(), key, dataset=data)
        out = exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        torch.testing.assert_close(in_onnx(out / "model.onnx", x=data.x_test), learner.predict(data.x_test, None))

    @pytest.mark.parametrize("method", ["hat", "hard_moe", "random"])
    @pytest.mark.few(1)
    def test_others_are_refused_and_fit_into_safetensors(self, method, tmp_path):
        learner = train(tmp_path / "run", get_method(method)(), "task_incremental")
        with refused(f"{method}.*use --format safetensors"):
            exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        assert not (tmp_path / "onnx").exists() and not list(tmp_path.glob(".*"))
        model = redwood.load(exported(tmp_path / "run", "safetensors", tmp_path / "tensors"))
        ids = torch.arange(len(SAMPLES)) % 3
        torch.manual_seed(0)
        wanted = learner.predict(SAMPLES, ids)
        torch.manual_seed(0)
        assert torch.equal(model.method.predict(SAMPLES, ids), wanted)

    def test_agents(self, tmp_path):
        agent = PPO(n_steps=16, batch_size=16)
        setting = IncrementalRLSetting(nb_tasks=2, steps_per_task=32, test_episodes=1)
        setting.apply(agent, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
        with refused("ppo acts in an environment.*use --format safetensors"):
            exported(tmp_path / "run", "onnx", tmp_path / "onnx")
        model = redwood.load(exported(tmp_path / "run", "safetensors", tmp_path / "tensors"))
        observation = model.sample_space.sample()
        assert model.act(observation) == agent.predict(torch.from_numpy(observation[None]), None).item()

    def test_a_network_from_python(self, tmp_path):
        network = nn.Sequential(nn.Flatten(), nn.Linear(8, 6))
        data = few_label_sets(contexts=False)
        learner = train(tmp_path / "run", Finetune(model=network), "continual", dataset=data)
        model = redwood.load(tmp_path / "run", model=network)
        export_model(model, "onnx", tmp_path / "onnx")
        torch.testing.assert_close(
            in_onnx(tmp_path / "onnx" / "model.onnx", x=data.x_test), learner.predict(data.x_test, None)
        )


class TestCommandLine:
    def test_beside_the_run_by_default(self, finished, capsys):
        run, method = finished
        assert main(["export", str(run)]) == 0
        assert capsys.readouterr().out == f"exported to {run}-safetensors\n"
        assert torch.equal(redwood.load(f"{run}-safetensors").scores(SAMPLES), method.predict(SAMPLES, None))

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--format", "pickle"], "--format: invalid choice: 'pickle' (choose from 'safetensors', 'onnx', "),
            (["--out", "{run}"], "exists and is not an empty folder"),
            (["--method", "ewc"], "There is no option --method for the command export"),
            (["--lr", "0.1"], "There is no option --lr"),
        ],
    )
    def test_refusals(self, finished, capsys, arguments, sentence):
        run, _ = finished
        assert main(["export", str(run), *(argument.format(run=run) for argument in arguments)]) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        assert sentence in said

    def test_no_run(self, tmp_path, capsys):
        assert main(["export", str(tmp_path)]) == 2
        assert "no config.yaml" in capsys.readouterr().err

    def test_a_missing_package(self, finished, tmp_path, monkeypatch):
        run, _ = finished
        monkeypatch.setattr(export_module, "find_spec", lambda package: None)
        with refused(r"--format onnx needs the package onnx; install it by pip install 'redwood\[export\]'"):
            exported(run, "onnx", tmp_path / "out")


def test_a_run_that_is_not_over_and_the_state_of_an_earlier_phase(tmp_path, monkeypatch):
    def fail(method, task_id):
        if task_id == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Finetune, "on_task_start", fail)
    with pytest.raises(KeyboardInterrupt):
        run_here(small_setting("class_incremental"), Finetune(), run_dir=str(tmp_path / "run"), keep_checkpoints="all")
    out = exported(tmp_path / "run", "safetensors", tmp_path / "out")
    assert "in 2 phases; the run is not over" in (out / "README.md").read_text()
    last, kept = (redwood.load(tmp_path / "run", phase=phase) for phase in (None, 1))
    assert torch.equal(last.scores(SAMPLES), kept.scores(SAMPLES))
    first = redwood.load(tmp_path / "run", phase=0)
    assert first.phases == 1 and not torch.equal(first.scores(SAMPLES), last.scores(SAMPLES))
    with refused('has no .*phase-002.pt, which a run writes with keep_checkpoints="all"'):
        redwood.load(tmp_path / "run", phase=2)

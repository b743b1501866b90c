import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from torch import nn

import redwood
from redwood.branches.streaming.ncm import NCM
from redwood.core.errors import NotApplicableError, RedwoodError
from redwood.methods.agents.on_policy import PPO
from redwood.methods.baselines import Finetune
from redwood.methods.replay.async_rehearsal import AsyncRehearsal
from redwood.methods.replay.rehearsal import Rehearsal
from redwood.settings.rl.tree import IncrementalRLSetting
from redwood.settings.tree import ClassIncrementalSetting, DistributedClassIncrementalSetting
from tests.experiments.trained.answers import SAMPLES, fresh_answers, supervised_methods, train
from tests.methods.helpers import refused
from tests.samples import few_digits
from tests.small_runs import small_setting

FEW = ["random", "rehearsal", "ewc", "icarl", "hat", "pnn", "ncm", "gdumb", "mntdp"]


def run(folder, method=None, **options):
    method = method or Finetune()
    setting = small_setting("class_incremental", **options)
    return setting.apply(method, run_dir=str(folder), quiet=True, accelerator="cpu"), method


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load") / "run"
    run(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


class TestAFreshProcess:
    def check(self, methods, tmp_path):
        wanted = {method: train(method, tmp_path / "runs" / method) for method in methods}
        found = fresh_answers(tmp_path / "runs", tmp_path / "answers.pt")
        assert found.keys() == wanted.keys()
        assert [method for method in methods if not torch.equal(wanted[method], found[method])] == []

    @pytest.mark.slow
    def test_answers_as_the_run_did(self, tmp_path):
        self.check(FEW, tmp_path)

    @pytest.mark.slow
    def test_answers_as_the_run_did_with_every_method(self, tmp_path):
        self.check(supervised_methods(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("make", [Rehearsal, AsyncRehearsal])
def test_a_run_of_two_workers(tmp_path, make):
    setting, method = DistributedClassIncrementalSetting(dataset=few_digits(), nb_tasks=2, passes=2), make()
    setting.apply(method, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
    model = redwood.load(tmp_path / "run", device="cpu")
    assert torch.equal(model.scores(SAMPLES), method.predict(SAMPLES, None))


def test_an_agent_acts(tmp_path):
    agent = PPO(n_steps=16, batch_size=16)
    setting = IncrementalRLSetting(nb_tasks=2, steps_per_task=32, test_episodes=1)
    setting.apply(agent, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
    model = redwood.load(tmp_path / "run", device="cpu")
    with refused("An agent has no test samples; call model.act", NotApplicableError):
        model.test_tasks()
    env = gymnasium.make("CartPole-v1")
    observation, _ = env.reset(seed=0)
    for _ in range(8):
        action = model.act(observation)
        assert action == agent.predict(torch.from_numpy(observation[None]), None).item()
        observation, *_ = env.step(action)


class TestWhatALoadedRunNeeds:
    def test_not_its_data(self, tmp_path):
        data = few_digits()
        path = tmp_path / "own.npz"
        np.savez(path, x=data.x, y=data.y, x_test=data.x_test, y_test=data.y_test)
        setting, method = ClassIncrementalSetting(dataset=str(path), nb_tasks=2, passes=2), Finetune()
        setting.apply(method, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
        path.unlink()
        x = data.x_test.float() if method.setting.observation_space.dtype == "float32" else data.x_test
        assert torch.equal(redwood.load(tmp_path / "run").scores(x), method.predict(x, None))

    def test_its_network_if_that_was_given_from_python(self, tmp_path):
        network = nn.Sequential(nn.Flatten(), _AsFloat(), nn.Linear(64, 10))
        _, method = run(tmp_path / "run", Finetune(model=network))
        with refused("its model .*Sequential.* from Python.*redwood.load\\(folder, model="):
            redwood.load(tmp_path / "run")
        model = redwood.load(tmp_path / "run", model=network)
        assert torch.equal(model.scores(SAMPLES), method.predict(SAMPLES, None))

    def test_its_classes_if_no_process_finds_them(self, tmp_path):
        class Narrow(ClassIncrementalSetting):
            """Of a notebook."""

        class Mine(Finetune):
            """Of a notebook."""

        data = few_digits()
        method = Mine()
        Narrow(dataset=data, nb_tasks=2).apply(method, run_dir=str(tmp_path / "run"), quiet=True, accelerator="cpu")
        with refused(r"code that would be run, setting: .*Narrow; call redwood.load\(.*, setting=Narrow\)"):
            redwood.load(tmp_path / "run")
        with refused(r"cannot be found again; .*, or give the class, as in redwood.load\(DIR, setting=Mine\)"):
            redwood.load(tmp_path / "run", trust=True)
        with refused("method=Finetune is not in .*, which has .*Mine; give the class of that name"):
            redwood.load(tmp_path / "run", method=Finetune)
        model = redwood.load(tmp_path / "run", setting=Narrow, method=Mine)
        assert torch.equal(model.scores(SAMPLES), method.predict(SAMPLES, None))
        with pytest.warns(UserWarning, match="what is forgotten of it is not measured"):
            model.learn(data, run_dir=tmp_path / "more", quiet=True)
        assert type(model.method) is Mine and model.folder == tmp_path / "more"

    def test_not_to_be_told_its_precision(self, tmp_path):
        method = Finetune()
        options = {"run_dir": str(tmp_path / "run"), "quiet": True, "accelerator": "cpu", "precision": "64-true"}
        small_setting("class_incremental").apply(method, **options)
        assert torch.equal(redwood.load(tmp_path / "run").scores(SAMPLES), method.predict(SAMPLES, None))

    def test_a_random_backbone_comes_back(self, tmp_path):
        _, method = run(tmp_path / "run", NCM(backbone="simple_cnn"))
        assert torch.equal(redwood.load(tmp_path / "run").scores(SAMPLES), method.predict(SAMPLES, None))

    def test_it_changes_neither_random_numbers_nor_threads(self, finished):
        torch.manual_seed(3)
        before, threads = torch.get_rng_state(), torch.get_num_threads()
        redwood.load(finished)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == threads

    def test_nothing_in_the_folder_changes(self, finished):
        before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
        redwood.load(finished)
        assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


class _AsFloat(nn.Module):
    def forward(self, x):
        return x.float()


class TestRefusals:
    def test_no_run(self, tmp_path):
        with refused("There is no run in the folder .*name the folder of a run"):
            redwood.load(tmp_path)

    def test_no_checkpoint_yet(self, copied):
        shutil.rmtree(copied / "checkpoints")
        with refused("has no checkpoint yet"):
            redwood.load(copied)

    def test_a_damaged_checkpoint(self, copied):
        file = copied / "checkpoints" / "boundary.pt"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with refused("is damaged"):
            redwood.load(copied)

    def test_other_options_than_those_of_the_checkpoint(self, copied):
        file = copied / "config.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "model": "simple_cnn"}))
        with refused("is of a run with other options .*model"):
            redwood.load(copied)

    def test_code_that_the_folder_names(self, copied):
        file = copied / "config.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "model": "evil.py:make"}))
        with pytest.raises(RedwoodError):
            redwood.load(copied)

    def test_an_option_that_the_method_has_not(self, finished):
        with refused("finetune has no option buffer_size"):
            redwood.load(finished, buffer_size=3)

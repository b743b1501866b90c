"""Files of a user that import the modules beside them: in functions, in the loss, and in other processes."""

import pytest

from redwood.cli import main
from redwood.engine.processes import WorkerCrashedError
from tests.cli.command import QUICK, assert_one_sentence

METHOD = """
from dataclasses import dataclass
from redwood.methods.baselines import Finetune

@dataclass
class Own(Finetune):
    def configure(self, setting):
        super().configure(setting)
        import its_helper
        self.thing = its_helper.Thing()

    def loss(self, step):
        from its_helper import times
        return times(super().loss(step))
"""
HELPER = """
class Thing:
    pass

def times(value):
    import its_factor
    return value * its_factor.FACTOR
"""
ENVIRONMENT = """
import gymnasium

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        import its_helper
        super().reset(seed=seed)
        self.thing = its_helper.Thing()
        return self.observation_space.sample(), {}

    def step(self, action):
        from its_factor import FACTOR
        return self.observation_space.sample(), FACTOR, False, False, {}
"""


@pytest.fixture
def folder(tmp_path):
    files = {
        "own.py": METHOD,
        "its_helper.py": HELPER,
        "its_factor.py": "FACTOR = 1.0\n",
        "environment.py": ENVIRONMENT,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def pair(folder, setting="class_incremental"):
    return ["--setting", setting, "--method", f"{folder}/own.py:Own", *QUICK, "--quiet", "--run_dir", f"{folder}/run"]


class TestNeighboursThatAreImportedLate:
    def test_in_a_run(self, folder):
        assert main(pair(folder)) == 0

    def test_in_workers(self, folder):
        assert main(pair(folder, "distributed_class_incremental")) == 0

    def test_in_a_pool(self, folder):
        assert main([*pair(folder), "--seeds", "2", "--jobs", "2"]) == 0

    def test_in_processes_of_environments(self, folder):
        chosen = ["--setting", "incremental_rl", "--method", "ppo", "--env", f"{folder}/environment.py:Own"]
        sizes = ["--nb_tasks", "1", "--steps_per_task", "32", "--test_episodes", "1", "--max_episode_steps", "5"]
        shared = ["--n_steps", "8", "--n_envs", "2", "--env_processes", "2"]
        assert main([*chosen, *sizes, *shared, "--batch_size", "8", "--quiet", "--run_dir", f"{folder}/run"]) == 0


class TestAFileThatEndsTheProcess:
    """By `sys.exit`, as scripts do: that is told like any other mistake."""

    def told(self, arguments, capsys):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert_one_sentence(said)
        return said

    @pytest.mark.parametrize("code", ["3", "", "'no more data'"])
    def test_as_it_is_loaded(self, tmp_path, capsys, code):
        (tmp_path / "own.py").write_text(f"import sys\n\nsys.exit({code})\n")
        said = self.told(pair(tmp_path), capsys)
        assert "own.py:Own cannot be imported (SystemExit" in said and "in line 3" in said

    def test_in_a_run(self, tmp_path, capsys):
        (tmp_path / "own.py").write_text(METHOD.replace("from its_helper import times", "raise SystemExit(3)"))
        (tmp_path / "its_helper.py").write_text(HELPER)
        said = self.told(pair(tmp_path), capsys)
        assert f"ended by SystemExit(3) in {tmp_path}/own.py, line 13" in said

    def test_in_a_data_set(self, tmp_path, capsys):
        (tmp_path / "data.py").write_text("def own(data_dir, seed, image_size):\n    raise SystemExit\n")
        chosen = ["--setting", "class_incremental", "--method", "random", "--dataset", f"{tmp_path}/data.py:own"]
        assert "data.py, line 2" in self.told(chosen, capsys)

    @pytest.mark.slow
    def test_in_a_worker(self, tmp_path):
        (tmp_path / "own.py").write_text(METHOD.replace("from its_helper import times", "raise SystemExit(3)"))
        (tmp_path / "its_helper.py").write_text(HELPER)
        with pytest.raises(WorkerCrashedError, match="SystemExit: 3"):
            main(pair(tmp_path, "distributed_class_incremental"))

"""Environments from the command line."""

import json

import pytest

from redwood.cli import main
from redwood.settings.scores.results import Results
from tests.cli.command import assert_one_sentence

SMALL = ["--nb_tasks", "2", "--steps_per_task", "40", "--test_episodes", "1", "--accelerator", "cpu"]
RANDOM = ["--setting", "incremental_rl", "--method", "random"]
FILES = {
    "config.yaml",
    "results.json",
    "metrics.csv",
    "checkpoints",
    "report.html",
    *(f"{name}.{kind}" for name in ("return_matrix", "return_curve", "cost_curve") for kind in ("png", "svg")),
}


def ended(capsys, *arguments):
    """Exit code and output."""
    code = main([*arguments])
    return code, *capsys.readouterr()


class TestRun:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("rl") / "run"
        agent = ["--setting", "incremental_rl", "--method", "dqn+rehearsal", "--buffer_size", "30"]
        assert main([*agent, *SMALL, "--learning_starts", "8", "--run_dir", str(folder)]) == 0
        return folder

    def test_it_leaves_these_files(self, folder):
        assert {path.name for path in folder.iterdir()} == FILES

    def test_results(self, folder):
        content = json.loads((folder / "results.json").read_text())
        assert (content["setting"], content["method"], content["dataset"]) == (
            "incremental_rl",
            "dqn+rehearsal",
            "CartPole-v1",
        )
        assert len(content["return_matrix"]) == len(content["random_return"]) == 2
        assert content["config"]["steps_per_task"] == 40
        assert content["reference"] is None

    def test_its_configuration_reproduces_it(self, folder, tmp_path):
        assert main(["--config", str(folder / "config.yaml"), "--quiet", "--run_dir", str(tmp_path / "again")]) == 0
        first, again = (Results.load(path / "results.json") for path in (folder, tmp_path / "again"))
        assert (first.accuracy_matrix, first.online_curve) == (again.accuracy_matrix, again.online_curve)

    def test_it_is_the_reference_of_another_one(self, folder, tmp_path, capsys):
        other = [*RANDOM, *SMALL, "--reference", str(folder), "--run_dir", str(tmp_path / "run")]
        code, out, _ = ended(capsys, *other)
        assert code == 0
        assert "normalised return" in out and "training steps" in out and "steps/s" in out


class TestSeveral:
    def test_an_option_says_which_limb_is_meant(self, tmp_path, capsys):
        everywhere = ["--setting", "incremental_rl,traditional", "--method", "random", "--jobs", "1"]
        code, out, _ = ended(capsys, *everywhere, *SMALL, "--run_dir", str(tmp_path / "run"))
        assert code == 0
        assert "left out: traditional has no option --steps_per_task." in out
        assert "incremental_rl" in out

    @pytest.mark.slow
    def test_accuracies_and_returns_have_tables_and_pictures_of_their_own(self, tmp_path, capsys):
        both = ["--setting", "multi_task_rl,traditional_rl,traditional,multi_task", "--method", "random", "--jobs", "1"]
        code, out, _ = ended(capsys, *both, "--nb_tasks", "2", "--run_dir", str(tmp_path / "run"))
        assert code == 0
        assert "accuracy" in out and "return" in out
        pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
        assert pictures == {"comparison.png", "comparison_accuracy.png"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([*RANDOM, "--env", "CartPoll-v1"], "Did you mean CartPole-v1?"),
        ([*RANDOM, "--env", "Hopper-v3"], "--env Hopper-v3 needs a package that is missing"),
        ([*RANDOM, "--attributes", "total_mass"], "CartPole-v1 computes it from other numbers"),
        (
            ["--setting", "incremental_rl", "--method", "dqn", "--train_freq", "0"],
            "--train_freq 0 has to be at least 1",
        ),
        ([*RANDOM, "--attributes", "lenght"], "has no number of that name. Did you mean length?"),
        ([*RANDOM, "--env", "CartPole-v1,Acrobot-v1"], "tasks share their observations and actions"),
        (["--setting", "incremental_rl", "--method", "dqn", "--env", "Pendulum-v1"], "dqn"),
        (["--setting", "incremental_rl", "--method", "sac"], "sac"),
        (["--setting", "incremental_rl", "--method", "ppo+reset_buffer"], "no replay memory"),
        (["--setting", "incremental_rl", "--method", "l2"], "join it to an agent, as in dqn+l2"),
        (["--setting", "incremental_rl", "--method", "ewc"], "In environments, join it to an agent, as in dqn+ewc."),
        (["--setting", "class_incremental", "--method", "ppo"], "targets ContinualRLSetting"),
        (["--setting", "continual_rl", "--method", "ppo+ewc"], "targets IncrementalRLSetting"),
        ([*RANDOM, "--passes", "2"], "--passes"),
    ],
)
def test_bad_input_ends_in_one_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = ended(capsys, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert_one_sentence(err)
    assert list(tmp_path.iterdir()) == []

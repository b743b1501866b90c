"""`--suite NAME`: environments, budget and options of agents; flags override them."""

import pytest
import yaml

from redwood.cli import main
from redwood.core.errors import RedwoodError
from redwood.experiments.bench.suite import read_suite
from redwood.experiments.command_line.arguments import UsageError
from redwood.experiments.command_line.options import check_arguments, parse_options
from redwood.experiments.suites.choice import FOLDER, suite_arguments
from redwood.settings.base import why_not_applicable
from redwood.settings.rl.environments import find_environment
from redwood.settings.scores.results import Results


def choose(suite, method, own=(), setting=None, trusted=False):
    return suite_arguments(str(suite), setting, method, set(own), trusted=trusted)


@pytest.mark.parametrize("name", [path.stem for path in FOLDER.glob("*.yaml")])
def test_shipped_suites_have_options_that_their_methods_know(name):
    for bench in read_suite(name, "--suite", FOLDER).benches:
        assert why_not_applicable(*bench.pair.load()) is None
        check_arguments([bench.pair], bench.arguments)
        assert parse_options(bench.pair, bench.arguments).setting.eval_every > 0


def test_cartpole10_runs_with_a_small_budget(tmp_path):
    arguments = ["--suite", "cartpole10", "--method", "ppo", "--steps_per_task", "256", "--eval_every", "0"]
    more = ["--test_episodes", "1", "--n_epochs", "1", "--run_dir", str(tmp_path / "run"), "--quiet"]
    assert main([*arguments, *more]) == 0
    results = Results.load(tmp_path / "run" / "results.json")
    assert len(results.accuracy_matrix) == len(results.accuracy_matrix[0]) == 10
    assert (results.config["n_steps"], results.config["n_epochs"]) == (32, 1)


class TestOptions:
    def test_of_the_command_line_count(self):
        assert "--n_envs=8" in choose("cartpole10", "ppo")
        assert not any(one.startswith("--n_envs") for one in choose("cartpole10", "ppo", {"n_envs"}))
        assert "--setting=incremental_rl" not in choose("cartpole10", "ppo", setting="task_incremental_rl")

    def test_an_agent_with_parts_has_those_of_the_agent(self):
        assert choose("cartpole10", "ppo+ewc") == choose("cartpole10", "ppo,ppo+ewc") == choose("cartpole10", "ppo")

    def test_parts_may_come_in_any_order(self, capsys):
        expected = choose("continual_world_10", "sac+reset_buffer+agem")
        assert "--states_per_task=2048" in expected
        assert choose("continual_world_10", "sac+agem+reset_buffer") == expected
        assert "has the options of" not in capsys.readouterr().out

    def test_of_the_entry_with_most_of_the_parts(self, capsys):
        assert "--states_per_task=2048" in choose("continual_world_10", "sac+agem")
        assert "sac+agem has the options of sac+reset_buffer+agem." in capsys.readouterr().out
        assert "--states_per_task=2048" in choose("continual_world_10", "sac+agem+reset_critic")
        assert "reset_critic has redwood's defaults, as no options are published." in capsys.readouterr().out

    def test_of_parts_that_it_lacks_are_left_out(self):
        options = choose("continual_world_10", "sac+cloning")
        assert "--cloning_coef=100" in options
        assert not any(one.startswith("--explore_steps") for one in options)

    def test_a_method_without_any(self):
        with pytest.raises(UsageError, match="has no options for sac; it has some for ppo, dqn"):
            choose("cartpole10", "sac")
        with pytest.raises(UsageError, match="--suite cartpole10 needs --method; it has options for ppo, dqn"):
            choose("cartpole10", None)

    def test_two_methods_that_need_different_ones(self):
        with pytest.raises(UsageError, match="gives --batch_size 256 to ppo, and 64 to dqn"):
            choose("cartpole10", "ppo,dqn")


class TestSuitesOfYourOwn:
    def test_a_file(self, tmp_path):
        content = {
            "mine": {"setting": "incremental_rl", "method": "ppo", "options": {"env": "CartPole-v1,CartPole-v0"}}
        }
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        expected = ["--setting=incremental_rl", "--env=CartPole-v1,CartPole-v0"]
        assert choose(tmp_path / "mine.yaml", "ppo") == expected

    def test_code_in_a_file_runs_only_if_it_is_trusted(self, tmp_path):
        content = {"mine": {"setting": "incremental_rl", "method": "ppo", "options": {"env": "file.py:make"}}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(UsageError, match=r"names code that would be run, env: file\.py:make"):
            choose(tmp_path / "mine.yaml", "ppo")
        assert "--env=file.py:make" in choose(tmp_path / "mine.yaml", "ppo", trusted=True)

    def test_two_entries_of_one_method(self, tmp_path):
        entry = {"setting": "incremental_rl", "options": {"env": "CartPole-v1"}}
        content = {"a": entry | {"method": "dqn+ewc+reset_buffer"}, "b": entry | {"method": "dqn+reset_buffer+ewc"}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(UsageError, match="has two entries of one method, a and b"):
            choose(tmp_path / "mine.yaml", "dqn")

    def test_what_only_counts_under_bench_is_told(self, tmp_path, capsys):
        content = {"mine": {"setting": "incremental_rl", "method": "ppo", "seeds": 2, "expect": {}}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        choose(tmp_path / "mine.yaml", "ppo")
        assert "suite mine: seeds only count under bench; repeat a run by --seeds." in capsys.readouterr().out

    def test_a_misspelled_key(self, tmp_path):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": {"setting": "incremental_rl", "metod": "ppo"}}))
        with pytest.raises(UsageError, match=r"mine holds metod; did you mean method\?"):
            choose(tmp_path / "mine.yaml", "ppo")

    def test_no_such_suite(self):
        with pytest.raises(
            UsageError, match="--suite nope is no suite; give a YAML file, or one of atari_6, cartpole10"
        ):
            choose("nope", "ppo")
        with pytest.raises(UsageError, match="--suite coom cannot run: COOM imports"):
            choose("coom", "sac")


class TestFamilies:
    @pytest.mark.parametrize(("name", "package"), [("Meta-World/hammer-v3", "metaworld"), ("CORA/Krull", "ale_py")])
    def test_one_sentence_says_what_is_missing(self, name, package, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(
            RedwoodError, match=rf"--env {name} needs a package that is missing .*; pip install 'redwood"
        ):
            find_environment(name)

    def test_meta_world(self):
        pytest.importorskip("metaworld", reason="needs the extra mujoco")
        maker = find_environment("Meta-World/hammer-v3")
        env = maker.make()
        first, again, other = env.reset(seed=1)[0], env.reset(seed=1)[0], env.reset()[0]
        assert maker.limit == 200 and first.shape == (39,)
        assert (first == again).all() and (first != other).any()
        assert "success" in env.step(env.action_space.sample())[4]

    def test_atari_as_in_cora(self):
        pytest.importorskip("ale_py", reason="needs the extra games")
        maker = find_environment("CORA/Krull")
        env = maker.make()
        assert maker.limit == 10_000 and env.action_space.n == 18 and env.reset(seed=1)[0].shape == (4, 84, 84)

"""Environments by name."""

import importlib.util
import sys

import gymnasium
import pytest

from redwood.core.errors import RedwoodError, UnknownNameError
from redwood.engine.figures.plots import plot_accuracy_curve, plot_accuracy_matrix
from redwood.methods.baselines import Random
from redwood.settings.rl.environments import find_environment
from redwood.settings.rl.tree import IncrementalRLSetting
from redwood.settings.scores.results import Results
from tests.settings.rl.clock import N_TASKS, Clock, OtherClock, clock, record


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("name", ["Hopper-v3", "HalfCheetah-v2"])
def test_environments_that_are_only_named(name):
    with pytest.raises(RedwoodError, match=rf"^--env {name} needs a package that is missing: .*[Mm]u[Jj]o[Cc]o.*\.$"):
        find_environment(name)


@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="needs JAX to be missing")
def test_environments_of_a_package_that_is_missing():
    with pytest.raises(RedwoodError, match=r"^--env phys2d/CartPole-v1 needs a package that is missing: .*jax.*\.$"):
        find_environment("phys2d/CartPole-v1")


def test_those_that_can_be_made_are_known():
    with pytest.raises(UnknownNameError) as caught:
        find_environment("Hopper-v9")
    known = str(caught.value).partition("Known: ")[2].rstrip(".").split(", ")
    assert {"CartPole-v1", "Hopper-v4", "Hopper-v5"} <= set(known)
    # Where later versions of gymnasium only name them, a function that raises an error stands for them.
    gone = {name for name in ("Hopper-v2", "Hopper-v3", "Reacher-v2") if callable(gymnasium.spec(name).entry_point)}
    assert not (gone | {"phys2d/CartPole-v1"}) & set(known)


CODE = """
import gymnasium
from tests.settings.rl.clock import Clock

class Own(Clock):
    pass

class Counting(Own):
    max_steps = 7  # as MiniGrid has it

def make():
    return gymnasium.wrappers.TimeLimit(Own(), 9)

def needs(length):
    return Own()

def number():
    return 3

gymnasium.register("{name}", entry_point=Own, max_episode_steps=5)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file and a module with environments."""
    (tmp_path / "own.py").write_text(CODE.format(name="OfFile-v0"))
    (tmp_path / "redwood_test_envs.py").write_text(CODE.format(name="OfModule-v0"))
    monkeypatch.syspath_prepend(str(tmp_path))
    registered = dict(gymnasium.registry)
    yield tmp_path
    sys.modules.pop("redwood_test_envs", None)
    gymnasium.registry.clear()
    gymnasium.registry.update(registered)


class TestReferences:
    @pytest.mark.parametrize(
        ("reference", "limit"),
        [
            ("{own}/own.py:make", 9),
            ("{own}/own.py:Own", None),
            ("{own}/own.py:Counting", 7),
            ("{own}/own.py:OfFile-v0", 5),
            ("redwood_test_envs:make", 9),
            ("redwood_test_envs:Own", None),
            ("redwood_test_envs:OfModule-v0", 5),
        ],
    )
    def test_are_taken(self, reference, limit, own):
        reference = reference.format(own=own)
        maker = find_environment(reference)
        assert (maker.name, maker.limit) == (reference, limit)
        assert type(maker.make().unwrapped).__name__ in ("Own", "Counting")
        setting = IncrementalRLSetting(
            env=reference, attributes=["gain"], steps_per_task=10, max_episode_steps=5, test_episodes=1
        )
        results = setting.apply(Random(), quiet=True)
        assert results.dataset == results.config["env"] == reference

    def test_are_separated_by_commas(self, own):
        setting = IncrementalRLSetting(env=f"{own}/own.py:Own,redwood_test_envs:OfModule-v0", max_episode_steps=5)
        assert setting.num_tasks == 2
        assert [maker.name for maker in setting._made[0]] == setting.env.split(",")

    @pytest.mark.parametrize(
        ("reference", "sentence"),
        [
            ("{own}/own.py:OfFile-v1", "There is no environment in .* named 'OfFile-v1'. Did you mean OfFile-v0?"),
            ("{own}/none.py:make", "The environment file .*none.py does not exist"),
            ("nowhere.at.all:Env-v0", "The environment module 'nowhere.at.all' cannot be found"),
            ("{own}/own.py:needs", "needs is called without arguments, but it needs some"),
            ("{own}/own.py:number", "number makes 3, of the class int; it has to make a gymnasium.Env"),
        ],
    )
    def test_that_lead_nowhere(self, reference, sentence, own):
        with pytest.raises(RedwoodError, match=sentence) as caught:
            find_environment(reference.format(own=own))
        assert "\n" not in str(caught.value)


class TestPhysics:
    def test_results_hold_the_physics_of_each_task(self, tmp_path):
        setting = clock(IncrementalRLSetting)
        setting.apply(Random(), quiet=True, run_dir=str(tmp_path / "run"))
        physics = Results.load(tmp_path / "run" / "results.json").config["task_physics"]
        assert physics == [task.values for task in setting._made[1]]
        assert physics[0] == {"gain": 2.0}
        assert len({task["gain"] for task in physics}) == N_TASKS
        # Whoever looks into the folder while the run goes on does not find them.
        assert "task_physics" not in (tmp_path / "run" / "config.yaml").read_text()

    def test_or_the_names_of_the_environments(self):
        results, _ = record(clock(IncrementalRLSetting, env=[Clock, OtherClock], attributes=[], nb_tasks=None))
        assert results.config["task_physics"] == [{"env": "Clock"}, {"env": "OtherClock"}]

    @pytest.mark.parametrize("plot", [plot_accuracy_matrix, plot_accuracy_curve])
    def test_pictures_name_them(self, plot, monkeypatch):
        drawn = []
        monkeypatch.setattr("redwood.engine.figures.plots.save_figure", lambda figure, path: drawn.append(figure))
        results, _ = record(clock(IncrementalRLSetting))
        plot(results, "unused.png")
        text = drawn[0].get_supxlabel()
        gains = [task["gain"] for task in results.config["task_physics"]]
        assert text.splitlines() == [f"task {number}: gain {gain:.4g}" for number, gain in enumerate(gains)]
        assert "task 0: gain 2" in text

import gymnasium
import pytest

from redwood.settings.errors import InvalidOptionError
from redwood.settings.rl.incremental import IncrementalRLSetting
from redwood.settings.rl.physics import KNOWN, Physics

ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1")


def after(env, steps=3):
    """Observations of some steps with fixed actions."""
    env.reset(seed=1)
    discrete = isinstance(env.action_space, gymnasium.spaces.Discrete)
    action = env.action_space.n - 1 if discrete else env.action_space.high
    return [env.step(action)[0].tolist() for _ in range(steps)]


@pytest.mark.parametrize("name", ENVIRONMENTS)
class TestKnown:
    def test_every_known_number_matters(self, name):
        physics = Physics(gymnasium.make(name))
        assert physics.known == KNOWN[type(gymnasium.make(name).unwrapped).__name__]
        unchanged = after(gymnasium.make(name))
        for attribute in physics.known:
            env = gymnasium.make(name)
            changed = Physics(env)
            changed.change({attribute: 1.5 * changed.read(attribute)})
            assert after(env) != unchanged, attribute

    def test_changing_back_restores_the_environment(self, name):
        env = gymnasium.make(name)
        physics = Physics(env)
        before, defaults = after(env), {attribute: physics.read(attribute) for attribute in physics.known}
        physics.change({attribute: 2 * value for attribute, value in defaults.items()})
        physics.change(defaults)
        assert after(env) == before

    def test_the_first_task_is_the_unmodified_environment(self, name):
        phase = next(IncrementalRLSetting(env=name, steps_per_task=10).phases())
        assert after(phase.train) == after(gymnasium.make(name))


def test_numbers_that_follow_from_others_are_updated():
    env = gymnasium.make("CartPole-v1")
    Physics(env).change({"masspole": 0.3, "length": 2.0})
    cart_pole = env.unwrapped
    assert cart_pole.total_mass == pytest.approx(1.3)
    assert cart_pole.polemass_length == pytest.approx(0.6)


@pytest.mark.parametrize("name", [*ENVIRONMENTS, "Hopper-v5"])
def test_a_line_is_a_change_at_every_step(name):
    if name == "Hopper-v5":
        pytest.importorskip("mujoco")
    followed, changed = gymnasium.make(name), gymnasium.make(name)
    physics, reference = Physics(followed), Physics(changed)
    start = {attribute: physics.read(attribute) for attribute in physics.known}
    slopes = {attribute: 0.01 * (index + 1) for index, attribute in enumerate(start)}
    move = physics.line(start, slopes)
    for step in (0, 7, 100):
        move(step)
        reference.change({attribute: value + step * slopes[attribute] for attribute, value in start.items()})
        assert [physics.read(attribute) for attribute in start] == [reference.read(attribute) for attribute in start]
        assert after(followed) == after(changed)


def test_an_attribute_that_does_not_exist():
    with pytest.raises(
        InvalidOptionError, match=r"--attributes lenght: CartPole-v1 has no number of that name\. Did you"
    ):
        IncrementalRLSetting(attributes=["lenght"]).open_stream()
    with pytest.raises(InvalidOptionError, match="--tasks grav: CartPole-v1 has no number of that name"):
        IncrementalRLSetting(tasks=["grav=3"]).open_stream()


def test_an_environment_of_which_nothing_is_known():
    with pytest.raises(InvalidOptionError, match="--attributes is missing: of FrozenLake-v1"):
        IncrementalRLSetting(env="FrozenLake-v1").open_stream()
    assert IncrementalRLSetting(env="FrozenLake-v1", nb_tasks=1).open_stream().n_tasks == 1

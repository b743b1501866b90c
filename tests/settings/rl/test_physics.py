import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from redwood.core.errors import InvalidOptionError
from redwood.settings.rl.physics import KNOWN, Physics
from redwood.settings.rl.tree import ContinualRLSetting, IncrementalRLSetting

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


def test_numbers_that_follow_from_others_also_of_a_derived_class():
    class Own(CartPoleEnv):
        pass

    env = Own()
    Physics(env).change({"masspole": 0.3})
    assert env.total_mass == pytest.approx(1.3)


@pytest.mark.parametrize(
    "options", [{"attributes": ["total_mass"]}, {"tasks": ["total_mass=2"]}, {"attributes": ["polemass_length"]}]
)
def test_numbers_that_follow_from_others_are_not_given(options):
    with pytest.raises(
        InvalidOptionError, match=r"(total_mass|polemass_length): CartPole-v1 computes it from other numbers; change"
    ):
        IncrementalRLSetting(**options).open_stream()
    assert {"masscart", "length"} <= set(Physics(gymnasium.make("CartPole-v1")).names)
    assert not {"total_mass", "polemass_length"} & set(Physics(gymnasium.make("CartPole-v1")).names)


class Row(gymnasium.Env):
    """A row of cells; its sizes are what NumPy makes arrays of."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(0, 100, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.size, self.width, self.gain = 4, np.int64(2**60 + 1), 1.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        return self._seen(), self.gain, False, False, {}

    def _seen(self):
        return np.array([len(np.zeros(self.size)), self.gain], np.float32)


class TestIntegers:
    def seen(self, cls=IncrementalRLSetting, **options):
        """What the training environment of each phase shows, for some steps."""
        setting = cls(env=Row, nb_tasks=2, steps_per_task=5, max_episode_steps=20, test_episodes=1, **options)
        return [after(phase.train, 5 * (2 if cls is ContinualRLSetting else 1)) for phase in setting.phases()]

    @pytest.mark.parametrize("options", [{"attributes": ["size"]}, {"tasks": ["default", "size=8"]}])
    def test_they_stay_integers(self, options):
        first, second = self.seen(**options)
        assert {size for size, _ in first} == {4}
        if "tasks" in options:
            assert {size for size, _ in second} == {8}

    def test_the_results_name_what_was_set(self):
        tasks = ["default", "size=7.6,gain=1.5", "size=8,gain=1.5"]
        setting = IncrementalRLSetting(env=Row, tasks=tasks, max_episode_steps=20)
        drawn = setting.open_stream().drawn()["task_physics"]
        assert drawn == [{"size": 4, "gain": 1.0}, {"size": 8, "gain": 1.5}]
        assert setting.order == [0, 1, 1]

    def test_they_are_rounded(self):
        env = Row()
        physics = Physics(env)
        for value, rounded in ((4.4, 4), (4.6, 5), (-1.2, -1)):
            physics.change({"size": value, "gain": value})
            assert (env.size, env.gain) == (rounded, value)
            assert (type(env.size), type(env.gain)) == (int, float)

    def test_the_first_task_has_them_exactly(self):
        env = Row()
        physics = Physics(env)
        physics.change({name: physics.read(name) for name in ("size", "width")})
        assert (env.size, env.width) == (4, 2**60 + 1)

    def test_they_drift_in_whole_numbers(self):
        (seen,) = self.seen(ContinualRLSetting, tasks=["default", "size=8,gain=2"])
        sizes, gains = zip(*seen, strict=True)
        assert sizes[0] == 4
        assert sizes[-1] == 8
        assert list(sizes) == sorted(sizes)
        assert len(set(gains)) > len(set(sizes)) > 2


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
    with pytest.raises(InvalidOptionError, match="--attributes is missing: redwood knows no physics of FrozenLake-v1"):
        IncrementalRLSetting(env="FrozenLake-v1").open_stream()
    assert IncrementalRLSetting(env="FrozenLake-v1", nb_tasks=1).open_stream().num_tasks == 1

"""Environments of benchmarks that are no plain gymnasium names: Meta-World as Continual World has it, Atari as CORA."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation, TransformObservation
from typing_extensions import override

from redwood.core.errors import RedwoodError, UnknownNameError, reason_of
from redwood.settings.rl.types import Env, EnvWrapper, Options, ResetResult

Makes: TypeAlias = Callable[[], Env]


@dataclass(frozen=True)
class Family:
    """Environments whose names have one beginning.

    Attributes:
        find: Returns the function that makes the environment of a name, without the beginning.
        limit: Steps per episode.
        install: The command that installs the packages.
    """

    find: Callable[[str], Makes]
    limit: int
    install: str


def find_in_family(name: str) -> tuple[Makes, int] | None:
    """Return the function that makes an environment, and its steps per episode; None if it is of no family.

    Raises:
        RedwoodError: If the family's package is missing, or does not work with the other packages.
        UnknownNameError: If the family has no such environment.
    """
    for prefix, family in FAMILIES.items():
        if not name.startswith(prefix):
            continue
        try:
            make = family.find(name.removeprefix(prefix))
            make().close()
        except RedwoodError:
            raise
        except ImportError as missing:
            raise RedwoodError(
                f"--env {name} needs a package that is missing ({reason_of(missing)}); {family.install}."
            ) from missing
        except (TypeError, ValueError, AttributeError) as broken:
            raise RedwoodError(
                f"--env {name}: its packages do not work together ({type(broken).__name__}: {reason_of(broken)}); "
                f"{family.install}."
            ) from broken
        return make, family.limit
    return None


def _meta_world(task: str) -> Makes:
    """Find a task of Meta-World v3, such as `hammer-v3`.

    As `random_init_all` in Continual World's `RandomizationWrapper`, each episode draws positions of objects and goal
    anew. All tasks have the same unbounded observations (39,), since the bounds of the goal differ (Continual World:
    `remove_goal_bounds`).
    """
    import metaworld

    classes = metaworld.ALL_V3_ENVIRONMENTS
    if task not in classes:
        raise UnknownNameError("Meta-World task", task, list(classes))

    one = metaworld.MT1(task, seed=1)

    def make() -> Env:
        env = one.train_classes[task]()
        env.set_task(one.train_tasks[0])
        env._freeze_rand_vec, env.seeded_rand_vec = False, True
        shape = env.observation_space.shape or ()
        return TransformObservation(_SeededMetaWorld(env), _as_float, Box(-np.inf, np.inf, shape, np.float32))

    return make


class _SeededMetaWorld(EnvWrapper):
    """Draws positions by the seed of `reset`, which Meta-World's own reset leaves to the method `seed`."""

    @override
    def reset(self, *, seed: int | None = None, options: Options | None = None) -> ResetResult:
        if seed is not None:
            env: Any = self.env.unwrapped
            env.seed(seed)
        return self.env.reset(seed=seed, options=options)


def _as_float(observation: object) -> Any:
    return np.asarray(observation, dtype=np.float32)


def _cora_atari(game: str) -> Makes:
    """Find an Atari game, such as `SpaceInvaders`, as CORA plays it (`make_atari_task.py`).

    Sticky actions are off, and all 18 actions are allowed. A frame is 84 x 84 grey pixels after 4 skipped ones, and an
    observation holds 4 frames. Up to 30 steps pass at the start, and an episode ends with a life.
    """
    import ale_py

    gymnasium.register_envs(ale_py)
    if f"ALE/{game}-v5" not in gymnasium.registry:
        games = [name for name in gymnasium.registry if name.startswith("ALE/")]
        raise UnknownNameError("Atari game", game, [name[4:-3] for name in games])

    def make() -> Env:
        env = gymnasium.make(
            f"ALE/{game}-v5",
            frameskip=1,
            repeat_action_probability=0.0,
            full_action_space=True,
            disable_env_checker=True,
        )
        seen = AtariPreprocessing(env, noop_max=30, frame_skip=4, screen_size=84, terminal_on_life_loss=True)
        return FrameStackObservation(seen, 4)

    return make


FAMILIES = {
    "Meta-World/": Family(_meta_world, 200, "pip install 'redwood[mujoco]'"),
    "CORA/": Family(_cora_atari, 10_000, "pip install 'redwood[games]'"),
}

"""Make gymnasium environments by name, without the wrappers that `TaskEnvironment` replaces."""

import importlib
import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import gymnasium
from gymnasium import error
from gymnasium.envs.registration import EnvSpec

from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError, reason_of
from redwood.core.registry import load_users_module
from redwood.settings.rl.families import find_in_family
from redwood.settings.rl.types import Array, Env

# Packages that register their environments when they are imported, by the start of the environments' names.
PROVIDERS = {"ALE/": "ale_py", "MiniGrid-": "minigrid", "BabyAI-": "minigrid"}


@dataclass(frozen=True)
class EnvironmentMaker:
    """Makes copies of one environment.

    Attributes:
        name: Name of the environment.
        make: Makes a copy without a limit of steps per episode.
        limit: Steps per episode; None if the environment does not tell its limit.
        n_test_episodes: Number of test episodes, of which `reset(options={"episode": k})` starts number k; None if
            the environment can play any number.
        make_test: Makes a copy for tests, if that differs.
    """

    name: str
    make: Callable[[], Env]
    limit: int | None
    n_test_episodes: int | None = None
    make_test: Callable[[], Env] | None = None


def find_environment(environment: object) -> EnvironmentMaker:
    """Return the maker of an environment.

    Args:
        environment: Its gymnasium name, a function that makes it, or a reference. A reference is `file.py:make` or
            `package.module:make`, of a function or a class. It may also end in a name that the file or the module
            registers, as in `package.module:Env-v0`.

    Raises:
        UnknownNameError: If there is no environment of this name.
        RedwoodError: If the environment needs a package that is missing, or the function makes something else.
    """
    if callable(environment):
        return _maker_of(getattr(environment, "__name__", type(environment).__name__), environment)
    if not isinstance(environment, str):
        raise InvalidOptionError(
            f"--env {environment!r} has to be the name of a gymnasium environment, or a function that makes one."
        )
    of_family = find_in_family(environment)
    if of_family is not None:
        return EnvironmentMaker(environment, *of_family)
    if ":" in environment:
        found = _load_reference(environment)
        if callable(found):
            return _maker_of(environment, found)
    spec = _find_spec(environment)
    bare = deepcopy(spec)
    # The settings count steps and check the order of calls themselves; each layer makes a step slower.
    bare.order_enforce = False
    bare.max_episode_steps = None

    def make() -> Env:
        return _adapted(environment, gymnasium.make(bare, disable_env_checker=True))

    try:
        made = make()
    except (error.DependencyNotInstalled, ImportError) as missing:
        raise RedwoodError(f"--env {environment} needs a package that is missing: {reason_of(missing)}.") from missing
    made.close()
    return EnvironmentMaker(environment, make, spec.max_episode_steps or _own_limit(made))


def _maker_of(name: str, make: Callable[..., object]) -> EnvironmentMaker:
    """Return the maker for a function or a class."""
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise InvalidOptionError(
            f"--env {name} is called without arguments, but it needs some ({reason_of(error)}); "
            "give a function that makes the environment."
        ) from error
    made = make()
    if not isinstance(made, gymnasium.Env):
        raise InvalidOptionError(
            f"--env {name} makes {made!r}, of the class {type(made).__name__}; it has to make a gymnasium.Env."
        )
    limit = made.spec.max_episode_steps if made.spec is not None else None
    made.close()
    return EnvironmentMaker(name, cast("Callable[[], Env]", make), limit or _own_limit(made))


def _own_limit(made: Env) -> int | None:
    """Return the environment's own limit of steps per episode: of a wrapper `TimeLimit`, or one such as MiniGrid's."""
    for name in ("_max_episode_steps", "max_steps"):
        limit = made.get_wrapper_attr(name) if made.has_wrapper_attr(name) else None
        if isinstance(limit, int) and limit > 0:
            return limit
    return None


def _load_reference(reference: str) -> object:
    """Return the object of a reference: a function, a class, or the name of an environment registered by its module."""
    location, _, name = reference.rpartition(":")
    known = set(gymnasium.registry)
    module = load_users_module("environment", location, reference)
    if hasattr(module, name):
        return getattr(module, name)
    if name in gymnasium.registry:
        return name
    functions = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    raise UnknownNameError(f"environment in {location}", name, [*functions, *(set(gymnasium.registry) - known)])


def _find_spec(name: str) -> EnvSpec:
    name = name.rpartition(":")[2]
    provider = next((package for prefix, package in PROVIDERS.items() if name.startswith(prefix)), None)
    if provider is not None:
        try:
            module = importlib.import_module(provider)
        except ModuleNotFoundError as missing:
            raise RedwoodError(
                f"--env {name} needs the package {missing.name}, which is not installed; pip install 'redwood[games]'."
            ) from missing
        gymnasium.register_envs(module)
    try:
        return gymnasium.spec(name)
    except ModuleNotFoundError as missing:
        raise RedwoodError(f"--env {name} needs the package {missing.name}, which is not installed.") from missing
    except error.Error as unknown:
        known = [spec.id for spec in gymnasium.registry.values() if not _is_hidden(spec)]
        raise UnknownNameError("environment", name, known) from unknown


def _is_hidden(spec: EnvSpec) -> bool:
    # Environments of other frameworks that gymnasium would wrap, environments for JAX, and names that gymnasium only
    # keeps to say where the environment has gone.
    gone = getattr(spec.entry_point, "__name__", "") == "_raise_mujoco_py_error"
    return gone or spec.id.startswith(("GymV", "phys2d/", "tabular/"))


def _adapted(name: str, env: Env) -> Env:
    """Show only the picture of an environment that shows a picture and a text."""
    if isinstance(env.observation_space, gymnasium.spaces.Dict) and "image" in env.observation_space.spaces:
        return gymnasium.wrappers.TransformObservation(env, _image, env.observation_space["image"])
    return env


def _image(observation: dict[str, Array]) -> Array:
    return observation["image"]

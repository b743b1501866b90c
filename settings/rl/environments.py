"""Make gymnasium environments by name, without the wrappers that a setting has its own ones for."""

import importlib
import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium import error

from redwood.core.errors import InvalidOptionError, RedwoodError, UnknownNameError, reason_of
from redwood.core.registry import load_users_module

# Packages whose environments are registered once they are imported, by what the names begin with.
PROVIDERS = {"ALE/": "ale_py", "MiniGrid-": "minigrid", "BabyAI-": "minigrid"}


@dataclass(frozen=True)
class EnvironmentMaker:
    """Makes copies of one environment.

    Attributes:
        name: What it is called.
        make: Makes a copy without a limit of steps per episode.
        limit: Steps per episode, or None if it has no limit of its own.
        n_test_episodes: Episodes that score it, which `reset(options={"episode": k})` chooses from; None if any number
            of episodes can be played.
    """

    name: str
    make: Callable[[], gymnasium.Env[Any, Any]]
    limit: int | None
    n_test_episodes: int | None = None
    make_test: Callable[[], gymnasium.Env[Any, Any]] | None = None


def find_environment(environment: Any) -> EnvironmentMaker:
    """The maker of an environment given by its gymnasium name, or by a function that makes it, or the reference of one.

    A reference is `file.py:make` or `package.module:make`, of a function or a class, or has the name of an environment
    that the file or the module registers, as in `package.module:Env-v0`.

    Raises:
        UnknownNameError: If there is no environment of this name.
        RedwoodError: If a package is missing that it needs, or a function makes something else.
    """
    if callable(environment):
        return _maker_of(getattr(environment, "__name__", type(environment).__name__), environment)
    if not isinstance(environment, str):
        raise InvalidOptionError(
            f"--env {environment!r} has to be the name of a gymnasium environment, or a function that makes one."
        )
    if ":" in environment:
        found = _load_reference(environment)
        if callable(found):
            return _maker_of(environment, found)
    spec = _find_spec(environment)
    bare = deepcopy(spec)
    # The settings count steps and check the order of calls themselves; each layer less makes a step cheaper.
    bare.order_enforce = False
    bare.max_episode_steps = None

    def make() -> gymnasium.Env[Any, Any]:
        return _adapted(environment, gymnasium.make(bare, disable_env_checker=True))

    try:
        made = make()
    except (error.DependencyNotInstalled, ImportError) as missing:
        raise RedwoodError(f"--env {environment} needs a package that is missing: {reason_of(missing)}.") from missing
    made.close()
    # Some environments, such as MiniGrid's, end their episodes by themselves.
    return EnvironmentMaker(environment, make, spec.max_episode_steps or getattr(made.unwrapped, "max_steps", None))


def _maker_of(name: str, make: Callable[[], Any]) -> EnvironmentMaker:
    """The maker for a function or a class."""
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
    return EnvironmentMaker(name, make, limit)


def _load_reference(reference: str) -> Any:
    """What a reference names: a function, a class, or the name of an environment that was registered by loading it."""
    location, _, name = reference.rpartition(":")
    known = set(gymnasium.registry)
    module = load_users_module("environment", location, reference)
    if hasattr(module, name):
        return getattr(module, name)
    if name in gymnasium.registry:
        return name
    functions = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    raise UnknownNameError(f"environment in {location}", name, [*functions, *(set(gymnasium.registry) - known)])


def _find_spec(name: str) -> Any:
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


def _is_hidden(spec: Any) -> bool:
    # Environments of other frameworks that gymnasium would wrap, its own ones written for JAX, and those that it only
    # names to say where they have gone.
    gone = getattr(spec.entry_point, "__name__", "") == "_raise_mujoco_py_error"
    return gone or spec.id.startswith(("GymV", "phys2d/", "tabular/"))


def _adapted(name: str, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Of environments that show a picture and a text, the picture alone."""
    if isinstance(env.observation_space, gymnasium.spaces.Dict) and "image" in env.observation_space.spaces:
        return gymnasium.wrappers.TransformObservation(env, _image, env.observation_space["image"])
    return env


def _image(observation: dict[str, Any]) -> Any:
    return observation["image"]

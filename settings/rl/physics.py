"""The physics of environments: numbers that a task may change, such as gravity, masses and lengths."""

import difflib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from redwood.core.errors import InvalidOptionError
from redwood.settings.rl.types import Env

T = TypeVar("T")

# Numbers that tasks change by default, by the name of the environment's class.
KNOWN: dict[str, tuple[str, ...]] = {
    "CartPoleEnv": ("gravity", "masscart", "masspole", "length", "force_mag"),
    "PendulumEnv": ("g", "m", "l"),
    "MountainCarEnv": ("force", "gravity"),
    "Continuous_MountainCarEnv": ("power",),
    "AcrobotEnv": ("LINK_LENGTH_1", "LINK_COM_POS_1", "LINK_COM_POS_2", "LINK_MASS_1", "LINK_MASS_2", "LINK_MOI"),
}
MUJOCO = ("gravity", "mass", "friction")


def _update_cart_pole(env: Any) -> None:
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


# Numbers that an environment computes from other numbers when it is made, and a function that computes them again.
_DEPENDENT: dict[str, tuple[tuple[str, ...], Callable[[Any], None]]] = {
    "CartPoleEnv": (("total_mass", "polemass_length"), _update_cart_pole)
}


class Physics:
    """Reads and changes the physics of one environment.

    An environment of MuJoCo has `gravity` (m/s^2, downwards positive), and factors of all masses, `mass`, and of all
    sliding frictions, `friction`. Any other environment has its numeric attributes, except numbers that it computes
    from others. An integer stays an integer: it is set to the nearest one.

    Attributes:
        known: Names of the numbers that tasks change by default; empty for environments that redwood does not know.
    """

    def __init__(self, env: Env) -> None:
        """Take an environment that has not been changed yet."""
        self._env: Any = env.unwrapped
        self._dependent, self._update = _of_class(self._env, _DEPENDENT, ((), None))
        model = getattr(self._env, "model", None)
        self._model = model if hasattr(model, "body_mass") and hasattr(model, "opt") else None
        if self._model is not None:
            self._masses, self._frictions = np.copy(self._model.body_mass), np.copy(self._model.geom_friction)
            self.known: tuple[str, ...] = MUJOCO[:2]
        else:
            self.known = _of_class(self._env, KNOWN, ())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all numbers that may be changed.

        Only for an environment that takes no steps: listing its attributes makes them slower in CPython.
        """
        if self._model is not None:
            return MUJOCO
        return tuple(name for name in dir(self._env) if name not in self._dependent and _is_number(self._env, name))

    def check(self, name: str, option: str, env_name: str) -> None:
        """Raise `InvalidOptionError` unless the environment has a number of this name."""
        if name in self.names:
            return
        known = ", ".join(self.names) or "none"
        if name in self._dependent:
            raise InvalidOptionError(
                f"--{option} {name}: {env_name} computes it from other numbers; change those instead, among {known}."
            )
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InvalidOptionError(f"--{option} {name}: {env_name} has no number of that name.{hint} It has: {known}.")

    def read(self, name: str) -> float:
        """Return the present value."""
        if self._model is None:
            value = getattr(self._env, name)
            return int(value) if _is_whole(self._env, name) else float(value)
        if name == "gravity":
            return -float(self._model.opt.gravity[2])
        now, first = (
            (self._model.body_mass, self._masses) if name == "mass" else (self._model.geom_friction, self._frictions)
        )
        changed = first.nonzero()
        return float(now[changed][0] / first[changed][0]) if len(changed[0]) else 1.0

    def change(self, values: Mapping[str, float]) -> None:
        """Set some values; all others stay."""
        if self._model is not None:
            self._change_model(values)
            return
        for name, value in values.items():
            # One by one, because access to `__dict__` makes attributes slower, as at `names`.
            setattr(self._env, name, round(value) if _is_whole(self._env, name) else value)
        if self._update is not None:
            self._update(self._env)

    def line(self, start: Mapping[str, float], slopes: Mapping[str, float]) -> Callable[[int], None]:
        """Return a function of the step that sets the values to `start + step * slopes`."""
        if self._model is not None:
            return lambda step: self._change_model({name: start[name] + step * slopes[name] for name in start})
        return _compiled_line(self._env, start, slopes, self._update)

    def _change_model(self, values: Mapping[str, float]) -> None:
        model = self._model
        assert model is not None
        for name, value in values.items():
            if name == "gravity":
                model.opt.gravity[2] = -value
            elif name == "mass":
                model.body_mass[:] = value * self._masses
            else:
                model.geom_friction[:, 0] = value * self._frictions[:, 0]


def _compiled_line(
    env: object, start: Mapping[str, float], slopes: Mapping[str, float], update: Callable[[object], None] | None
) -> Callable[[int], None]:
    """Write the assignments out as source: a loop over `setattr` takes a tenth of the time of a step of CartPole."""
    lines = ["step = float(step)"]
    for name, value in start.items():
        moved = f"{value!r} + step * {slopes[name]!r}"
        lines.append(f"env.{name} = round({moved})" if _is_whole(env, name) else f"env.{name} = {moved}")
    lines += ["update(env)"] if update is not None else []
    source = ["def make(env, update):", " def move(step):", *(f"  {line}" for line in lines), " return move"]
    made: dict[str, Callable[..., Callable[[int], None]]] = {}
    exec("\n".join(source), made)
    return made["make"](env, update)


def _of_class(env: object, table: Mapping[str, T], default: T) -> T:
    """Look up the class of an environment, or its nearest base class, in a table by names of classes."""
    return next((table[base.__name__] for base in type(env).__mro__ if base.__name__ in table), default)


def _is_whole(env: object, name: str) -> bool:
    """Return whether the attribute is an integer; it stays one however often it is changed."""
    return isinstance(getattr(env, name), int | np.integer)


def _is_number(env: object, name: str) -> bool:
    if name.startswith("_"):
        return False
    if isinstance(getattr(type(env), name, None), property):
        return False
    value = getattr(env, name, None)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)

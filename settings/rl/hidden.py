"""An environment whose context is hidden: what it shows is what `reset` and `step` return, and its spaces."""

from typing import Any, SupportsFloat

import gymnasium

from redwood.settings.rl.environment import TaskEnvironment


class HiddenEnvironment(gymnasium.Env[Any, Any]):
    """Acts as another environment, which is no attribute of it, and has neither its `unwrapped` nor its `spec`.

    Where boundaries are not announced, the physics and the name of the environment would announce them. Python has no
    secrets: a method that takes functions apart can still find them, as it can find the state that a checkpoint needs.
    """

    def state_dict(self) -> dict[str, Any]:
        """As of `TaskEnvironment`."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As of `TaskEnvironment`."""
        raise NotImplementedError


def hide(env: TaskEnvironment) -> HiddenEnvironment:
    """Hand out an environment so that its attributes do not tell what it is at."""

    class Hidden(HiddenEnvironment):
        """A class of its own, whose methods alone know the environment."""

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            return env.reset(seed=seed, options=options)

        def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
            return env.step(action)

        def render(self) -> Any:
            return env.render()

        def close(self) -> None:
            env.close()

        def state_dict(self) -> dict[str, Any]:
            return env.state_dict()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            env.load_state_dict(state)

    hidden = Hidden()
    hidden.observation_space, hidden.action_space = env.observation_space, env.action_space
    hidden.metadata, hidden.render_mode = env.metadata, env.render_mode
    return hidden

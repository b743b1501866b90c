"""Types of gymnasium with their type parameters filled in: the values depend on the environment."""

from typing import Any, TypeAlias

import gymnasium
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Env: TypeAlias = gymnasium.Env[Any, Any]
EnvWrapper: TypeAlias = gymnasium.Wrapper[Any, Any, Any, Any]
Space: TypeAlias = gymnasium.Space[Any]
Info: TypeAlias = dict[str, Any]

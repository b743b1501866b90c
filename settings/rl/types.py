"""Types of gymnasium with their type parameters filled in: the values depend on the environment."""

from typing import Any, SupportsFloat, TypeAlias

import gymnasium
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Space: TypeAlias = gymnasium.Space[Any]
Env: TypeAlias = gymnasium.Env[Any, Any]
EnvWrapper: TypeAlias = gymnasium.Wrapper[Any, Any, Any, Any]
Info: TypeAlias = dict[str, Any]
Options: TypeAlias = dict[str, Any]  # of `reset`
ResetResult: TypeAlias = tuple[Any, Info]
StepResult: TypeAlias = tuple[Any, SupportsFloat, bool, bool, Info]
